"""The sub-commands of `bfs`, one file each.

What several commands share does not belong here (`cli`), nor does the work itself: a command parses, calls, and prints.
"""
