"""The workers: engines with one loaded model each, the follower that publishes new versions, the loop that works by lease.

Here belongs what runs in a sampler replica. What an order is does not (`job`), nor how it came in (`api`). Stands on `job`.
"""
