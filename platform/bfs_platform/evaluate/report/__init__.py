"""What is written about an evaluation: metrics.json, pictures, one static page.

Nothing is measured here (`metric`, `learned`), and nothing is drawn (`system`). Stands on all three.
"""
