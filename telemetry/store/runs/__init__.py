"""Which runs a store has, and of each its manifest, attempts, live shards and rings."""
