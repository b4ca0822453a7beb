"""Dataset construction: sources → one record → stages → encoded Parquet shards, executed by Ray Data.

What a record and a recipe are stands here, everything else in the rooms below. Reading finished sets is `shard`. What a
network makes of them does not belong here (`train`). Stands on `storage` and `config`.
"""
