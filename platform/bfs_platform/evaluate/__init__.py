"""Evaluation: a model and its baselines on a frozen list of records, figures with spread, and a report to look at.

Which records there are (`samples`) and what an evaluation does (`spec`) stand here. Whether a figure is good enough does not
belong here (`registry`). Stands on `data`.
"""
