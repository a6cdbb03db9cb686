"""Data sets run through models: a row for each example, and hypotheses about them."""
