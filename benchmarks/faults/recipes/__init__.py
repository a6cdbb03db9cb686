"""Faulty trainings and healthy controls, by subject; `registry` finds them by looking in here."""
