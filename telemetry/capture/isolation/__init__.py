"""What keeps recording from changing, slowing or stopping the training."""
