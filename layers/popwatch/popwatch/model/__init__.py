"""Words and values: what the rest is written in. No I/O, no decisions, no clock."""
