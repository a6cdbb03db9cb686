"""What layers have learnt: their weights, what excites their units, and when they settled."""
