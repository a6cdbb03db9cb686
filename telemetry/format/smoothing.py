"""From how many values on a run tells means of its loss; lists say it without loading numpy."""

SMOOTHED_FROM = 20  # a run of fewer steps has its last loss and its lowest
