"""Evaluation: a model and its baselines on a frozen list of records, figures with spread, and a report to look at."""
