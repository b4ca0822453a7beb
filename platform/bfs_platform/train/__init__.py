"""Training: one loop for every network, Ray Train with DeepSpeed ZeRO around it."""
