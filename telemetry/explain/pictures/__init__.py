"""How results look: colours, characters for a terminal, and PNG files."""
