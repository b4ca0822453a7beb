"""Training: one loop for every network (`loop`), Ray Train with DeepSpeed ZeRO around it.

What a run is (`spec`, `network_spec`) and what the loop asks of a network (`task`) stand here. Networks themselves belong to
`bfs_model`, their training to `network`. Stands on `data.shard` and `tracking`.
"""
