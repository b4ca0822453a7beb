"""Adapters: each lists one published layout as rows. Bytes are read later, where they are used (`read`).

What a picture holds does not belong here (`decode`, `stage`). Stands on `record` and `storage`. Sources of others come in
through entry points of the group `bfs.sources`.
"""
