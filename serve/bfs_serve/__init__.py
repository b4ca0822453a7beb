"""The service: a Ray Serve application that draws layers over HTTP."""
