"""What the autograd graph of a loss says of the network: linear maps in a row, axes, masks."""
