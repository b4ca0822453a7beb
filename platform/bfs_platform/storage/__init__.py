"""Where data lies: directories of this machine, prefixes of object stores, pieces of tar and Parquet files, manifests.

One small set of operations for all of them. What the bytes mean does not belong here. Stands on the ground.
"""
