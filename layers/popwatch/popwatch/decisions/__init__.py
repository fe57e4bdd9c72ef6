"""What follows from what was seen: pure functions, with the clock as an argument."""
