"""Which step is in progress, and what is known of it as a whole."""
