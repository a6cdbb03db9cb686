"""Cross-validation: each fold of each configuration is a run of the store."""
