"""Ray clusters: its variables, settled before Ray is imported; whether a cluster wants a token; starting one and joining one.

Nobody else sets a variable of Ray's, starts a cluster or joins one. What runs on a cluster does not belong here. Stands on
`console`.
"""
