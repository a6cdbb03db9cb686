"""JSON Schemas of the documents that `--json` prints."""
