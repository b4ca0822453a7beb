"""What can be seen of a running service: what is counted, lines of logs, traces.

Here belongs how something is told; what happened is told where it happens. Nothing here knows jobs, models or HTTP.
"""
