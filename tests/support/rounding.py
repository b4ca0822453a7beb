"""How far two float32 computations of the same thing may lie apart on any processor, where they sum in different orders."""

# After one pass of a small network: half a unit in the last place, 6e-8, of values up to 4, from each of some 80 operations, all
# in one direction. Another picture, prompt or neighbour changes the result by a hundredth at least.
PASS = 2e-5
# After a whole sampling, where a few such passes build on each other.
SAMPLING = 1e-4
