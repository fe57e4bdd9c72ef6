"""The local stack: the real template on a local AWS, watched live. `make run` starts it."""
