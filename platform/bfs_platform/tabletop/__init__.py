"""The tabletop world: path-traced scenes with and without one object, so that every layer has a known truth."""
