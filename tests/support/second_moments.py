"""Rows of Adam's second moments for synthetic runs."""

from judged_runs import WIDTH, Chain

N = WIDTH**2


def second_moment(run: Chain, layer: int, step: int, **values: object) -> None:
    """A row of one layer, whose mean is (1e-3)^2."""
    name = f"l{layer}.weight"
    common = {"sum": 1e-6 * N, "min": 0.0, "rms_ratio": 1.0, "n_below_eps": 0}
    run.norm(name, "optimizer_state", step, 1e-6, n=N, **{**common, **values})
