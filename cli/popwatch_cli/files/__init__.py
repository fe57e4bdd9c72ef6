"""Targets in files: YAML, CSV, JSON lines."""
