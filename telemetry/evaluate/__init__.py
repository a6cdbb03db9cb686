"""Judges stored results of trained models: paired comparisons, slices, hypotheses, folds.

No torch: what ran a model wrote tables, this reads them.
"""
