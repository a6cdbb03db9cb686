"""What was done with a model's outputs on the way to the loss, and the best constant answer."""
