"""Random trainings: what is drawn, how it is trained, and which faults are planted in it."""
