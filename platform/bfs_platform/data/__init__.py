"""Dataset construction: sources → one record → stages → encoded Parquet shards, executed by Ray Data."""
