"""The tabletop world: path-traced scenes with and without one object, so that every layer has a known truth.

Descriptions, meshes, materials, rendering, and the files in RORem's layout. What is learned from them does not belong here.
Stands on the ground.
"""
