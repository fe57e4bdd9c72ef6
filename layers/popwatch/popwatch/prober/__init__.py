"""The sockets: tests of many targets at once in one thread."""
