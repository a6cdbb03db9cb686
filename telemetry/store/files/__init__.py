"""What lies on the disk beside the rows: folders, shard files, locks, kept files."""
