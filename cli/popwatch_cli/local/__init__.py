"""`make run`: the real template on a local AWS, with demo servers and a live view."""
