"""One recorded quantity per file."""
