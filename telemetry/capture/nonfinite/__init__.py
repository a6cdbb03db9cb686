"""Where the first value that is not finite came from."""
