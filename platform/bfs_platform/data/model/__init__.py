"""Pretrained models of the pixel stages, each behind one small protocol, each with a stand-in elsewhere that needs no weights.

A model takes records and gives records or rejects. What needs no weights does not belong here (`stage`). Stands on `stage`.
"""
