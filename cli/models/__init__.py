"""Commands that run a model in a child process."""
