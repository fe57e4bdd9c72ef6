"""What would happen: simulated outages, and whom an alert would reach."""
