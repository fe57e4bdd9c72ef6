"""The use case: the work of a tick, of a batch, of an outcome."""
