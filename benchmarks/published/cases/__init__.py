"""One file for a collection or a theme; each case is trained in both versions by the same code."""
