"""Adapters: each lists one published layout as rows. Bytes are read later, where they are used."""
