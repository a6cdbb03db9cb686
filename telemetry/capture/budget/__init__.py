"""What recording may cost, and which steps are sampled for that."""
