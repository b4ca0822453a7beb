"""The work on one record, as plain functions: no Ray, no files, randomness from the seed and the record's id alone.

What needs pretrained weights does not belong here (`model`), nor does the order of work (`execute`). Stands on `record`.
"""
