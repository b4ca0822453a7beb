"""The HTTP API: requests to orders, jobs to answers. Stateless: any number of ingress replicas answer alike.

Here belongs what knows HTTP. What refuses before a request is read does not (`edge`), nor how an order is carried out (`job`).
Stands on `model`, `job` and `store`.
"""
