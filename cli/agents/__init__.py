"""Programs that ask for themselves, over the Model Context Protocol: tools, and who answers."""
