"""What all results have in common: checks, whose they are, how they are told and kept."""
