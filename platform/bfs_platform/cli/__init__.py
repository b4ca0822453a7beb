"""The command `bfs`: its entry point, what its commands share, and a client of the service. The commands are in `command`.

Heavy libraries are imported inside the commands, so that `--help` is quick. The work itself does not belong here. Stands on
every other room of the platform; nothing imports it.
"""
