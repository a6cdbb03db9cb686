"""Which batches and samples enter the model, and how long the loop waits for them."""
