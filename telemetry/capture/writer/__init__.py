"""The background thread: packets in, shards and heartbeats out."""
