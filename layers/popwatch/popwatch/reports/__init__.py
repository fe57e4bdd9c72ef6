"""The arithmetic of status and reports: pure functions over what was read."""
