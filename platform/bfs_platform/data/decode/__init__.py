"""Bytes of unknown origin made into pictures, in a child process with limits; pickles read as data.

Only what may meet a hostile file belongs here. Stands on `record` and `spec`.
"""
