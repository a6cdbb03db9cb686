"""Names of everything that is recorded: tables `tensors` and `modules`."""
