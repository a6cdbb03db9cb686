"""Reads stores: DuckDB views over immutable Parquet shards."""
