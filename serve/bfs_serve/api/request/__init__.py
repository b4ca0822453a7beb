"""Reading requests: who calls and whether they are admitted, forms and JSON to checked fields, pictures, what is wished back.

From HTTP to an order. Nothing here answers (`answer`) or knows an address (`endpoint`). Stands on `job` and `store`.
"""
