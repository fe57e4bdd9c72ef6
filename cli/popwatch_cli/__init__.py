"""The `popwatch` command. An entry point: here clients are made and the clock and the environment are read."""
