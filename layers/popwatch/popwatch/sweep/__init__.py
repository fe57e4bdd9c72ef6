"""The work of a tick, of a batch, of an outcome."""
