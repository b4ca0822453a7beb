"""Runs in MLflow: parameters, metrics, images and the manifests of what a run consumed; a server of its own if need be.

A run outlives an outage of the store: what could not be sent is written down and delivered later. Model versions do not
belong here (`registry`). Stands on the ground.
"""
