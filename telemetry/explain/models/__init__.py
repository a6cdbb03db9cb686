"""Models of the user: loaded without running what is pickled, read, asked, left as they were."""
