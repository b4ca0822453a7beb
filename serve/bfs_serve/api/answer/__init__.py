"""Answering: a job as its caller sees it, its result as JSON or a file, its events as a stream.

From a job to HTTP. Nothing here reads requests (`request`). Stands on `job` and `store`.
"""
