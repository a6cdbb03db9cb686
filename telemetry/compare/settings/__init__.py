"""What was set, and what differs between two runs."""
