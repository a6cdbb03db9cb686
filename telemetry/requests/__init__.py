"""What the terminal asks of a process that runs or trains a model."""
