"""Rules about inputs, labels and loaders."""
