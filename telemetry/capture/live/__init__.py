"""A run is judged and its shards are merged by child processes while it is recorded."""
