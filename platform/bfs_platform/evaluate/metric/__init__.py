"""What is measured on one record, and what the figures are called.

Exact metrics against the truth and the classifier of the tabletop world. Metrics with weights of others do not belong here
(`learned`). Stands on `system` for what was drawn.
"""
