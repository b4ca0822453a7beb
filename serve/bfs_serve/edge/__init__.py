"""In front of everything: what is refused before a request is read, and who the caller is.

Runs in Serve's proxies, so it knows no store and no model. Stands on `problems`.
"""
