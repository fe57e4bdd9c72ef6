"""The prober: tests of many targets at once, in one thread over non-blocking sockets."""
