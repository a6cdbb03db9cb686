"""What changes a store: merging shards, deleting runs, looking for what is wrong."""
