"""What would happen: simulated outages, and who would receive an alert."""
