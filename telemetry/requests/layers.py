"""What the questions about layers share: the table that keeps them, and what they are about."""

from collections.abc import Sequence

from telemetry.requests.kinds import Row

LAYER_TABLE = "feature_visualizations"
LAYER_ORDER = ("layer", "step", "unit")
SHOWN_UNITS = 5


def about_layer(rows: Sequence[Row]) -> str:
    """The layer and its units, or how many layers."""
    units = [str(row["unit"]) for row in rows if row["unit"] is not None]
    layers = list(dict.fromkeys(str(row["layer"]) for row in rows))
    if not units:
        return layers[0] if len(layers) == 1 else f"{len(layers)} layers"
    more = ", ..." if len(units) > SHOWN_UNITS else ""
    return f"{layers[0]} {', '.join(units[:SHOWN_UNITS])}{more}"
