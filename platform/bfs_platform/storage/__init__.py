"""Where data lies: directories of this machine and prefixes of object stores, through one small set of operations."""
