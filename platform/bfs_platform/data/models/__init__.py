"""Pretrained models of the pixel stages, each behind one small protocol, each with a stand-in that needs no weights elsewhere."""
