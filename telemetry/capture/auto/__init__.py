"""Records a script that knows nothing of it."""
