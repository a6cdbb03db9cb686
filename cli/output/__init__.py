"""How texts, numbers and tables are written to a terminal or a file."""
