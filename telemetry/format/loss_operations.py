"""Operations in which an output of a model and a target meet, by how they do.

`loss_graphs` names them; what records them and what judges them read the same sets.
"""

DIFFERENCES = frozenset({"sub", "rsub", "mse_loss", "smooth_l1_loss", "huber_loss"})
BINARY = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
INDEXED = frozenset({"gather", "index", "nll_loss_forward", "nll_loss2d_forward"})
SIGNED = frozenset({"soft_margin_loss"})  # whose targets are -1 and 1
WEIGHTED = frozenset({"mul"})  # beside a logarithm; of scores where nothing else meets a target
