"""One rule per file; found by name, never listed."""
