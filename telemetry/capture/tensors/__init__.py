"""Reading tensors of any layout: plain parts, norms, samples, the way to the host."""
