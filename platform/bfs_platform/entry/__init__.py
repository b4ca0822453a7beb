"""The command lines of `jobs/*.py`, one module per kind of job.

Arguments to a specification, a run, the path of its manifest. The work itself does not belong here. Stands on every room
that has a job.
"""
