"""What is ordered and how it is done: orders of each kind, from blobs to blobs, with a model where one is needed.

Here belong orders as data, and the functions that carry them out. Who does it, and when, does not (`model`); nor does HTTP
(`api`). Stands on `store`.
"""
