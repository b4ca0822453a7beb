"""Runs in MLflow: parameters, metrics, images and the manifests of what a run consumed."""
