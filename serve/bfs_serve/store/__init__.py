"""Where jobs and pictures are kept: one database that every process of the service shares, and blobs named by their sha256.

Here belong the tables, their migrations, the transactions on them, and the two ways to hear of a change. What a job means to a
caller (HTTP) or to a model (drawing) does not: rows carry JSON, names of blobs and numbers. Stands on `bfs_platform.storage`.
"""
