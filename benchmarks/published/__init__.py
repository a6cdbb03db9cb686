"""Training bugs of public collections and threads, each with and without what was wrong."""
