"""How a run goes: speed, losses, held-out figures and gates, for people, MLflow and Prometheus.

Nothing here changes a weight. Stands on the specification and on `tracking`.
"""
