"""Targets from the configuration of other monitors."""
