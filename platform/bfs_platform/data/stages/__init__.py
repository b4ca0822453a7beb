"""The work on one record, as plain functions: no Ray, no files, randomness from the seed and the record's id alone."""
