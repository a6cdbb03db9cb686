"""DuckDB over the live shards of some runs, for statements of the product."""
