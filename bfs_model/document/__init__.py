"""Layered documents: `LayerStack`, scenes of several layers, object and effects told apart, files.

A layer has a place, a name and a history, whoever drew it. Models do not belong here (`sampling`). Stands on `picture`.
"""
