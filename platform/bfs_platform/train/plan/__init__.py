"""What a training run will need: memory, seconds, days and money, from the geometry of the model."""
