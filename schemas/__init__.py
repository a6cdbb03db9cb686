"""Table schemas (`*.toml`) and schemas of the `--json` documents (`json/`)."""
