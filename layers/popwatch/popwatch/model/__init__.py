"""Data types used by all other folders. No I/O, no decisions, no clock."""
