"""`popwatch doctor`: what it reads of a stack, and the rules by which it judges that."""
