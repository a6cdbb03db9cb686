"""Looks at runs while they are recorded: curves, norms and findings, read again as files change."""
