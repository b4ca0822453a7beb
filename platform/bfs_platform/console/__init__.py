"""What a person sees of a program, and where the rest goes: `say` and `progress` on stderr, libraries into a log.

One way for jobs, commands and the demo. What a program has to say does not belong here. Stands on `tracking`, for the place of logs.
"""
