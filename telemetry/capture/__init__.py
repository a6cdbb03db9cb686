"""Records a training run: torch and pyarrow, nothing of the query half."""
