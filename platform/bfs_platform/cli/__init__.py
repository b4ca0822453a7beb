"""The command `bfs`: one file per sub-command. Heavy libraries are imported inside the commands, so that `--help` is quick."""
