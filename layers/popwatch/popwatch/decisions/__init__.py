"""What is to be tested, and what an outcome means: pure functions, with the clock as an argument."""
