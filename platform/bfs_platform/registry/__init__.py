"""Model versions: packed with hashes, promoted through gates, served by alias, taken back when need be.

`register.register`, `promote.promote`, `promote.rollback` and `records.history` write and read the registry;
`resolve.resolve` turns `tiny`, a folder or `models:/bfs@champion` into a folder whose every file was checked.
"""
