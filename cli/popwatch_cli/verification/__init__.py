"""`popwatch verify`: what is created for a while in a stack, what is seen of it, and what that shows of the stack."""
