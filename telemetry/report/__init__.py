"""What a report says of runs: everything that their screens show, read once."""
