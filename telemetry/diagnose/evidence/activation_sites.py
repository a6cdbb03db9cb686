"""Where activations were observed: modules such as ReLU, and operations inside a forward.

A functional activation is recorded at the module whose forward ran it, as `<op>#<k>`. Findings name
the layer that fed it where that can be told: the k-th of the module's own layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.evidence.network import LAST, Network
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.store.sessions.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One observed activation.

    Attributes:
        layer: Module path.
        site: `output`, or `<op>#<k>`.
        named: The layer that findings name.
        depth: Execution order of that layer.
        n_units: Channels or features.
    """

    layer: str
    site: str
    named: str
    depth: int
    n_units: int

    @property
    def shown(self) -> str:
        """How messages name it."""
        return self.named if self.site == "output" else f"{self.named or 'the model'} ({self.site})"


def sites(rows: Rows, network: Network) -> tuple[Site, ...]:
    """All observed activations in the order of execution.

    Args:
        rows: Columns `layer`, `site`, `n_units`.
        network: The network they belong to.
    """
    known: dict[tuple[str, str], int] = {}
    layers, layer_names = rows.codes("layer")
    names, site_names = rows.codes("site")
    units = rows.floats("n_units")
    pairs = layers * (len(site_names) + 1) + names
    for place in np.unique(pairs, return_index=True)[1]:
        key = (layer_names[layers[place]], site_names[names[place]])
        known[key] = int(np.nan_to_num(units[place]))
    found = [_site(layer, site, n_units, network) for (layer, site), n_units in known.items()]
    return tuple(sorted(found, key=lambda s: (s.depth, s.site, s.layer)))


def hidden_sites(rows: Rows, network: Network) -> tuple[Site, ...]:
    """The same without the last one: the output of the network may be anything."""
    return tuple(site for site in sites(rows, network) if not _is_output(site, network))


def sure_layer(site: Site, among: Sequence[Site], network: Network) -> str:
    """The layer that feeds a site where each of its width feeds one of them; else its module.

    A module may have an activation of another kind behind one of its layers.
    """
    fed = [other for other in among if other.layer == site.layer and other.n_units == site.n_units]
    rows = {p.layer: p.rows for p in network.matrices}
    inside = [m.path for m in network.chain if m.path and network.caller_of(m.path) == site.layer]
    fitting = [path for path in inside if rows[path] == site.n_units]
    return site.named if site.site == "output" or len(fed) == len(fitting) else site.layer


def site_grid(rows: Rows, site: Site, signal: str) -> tuple[IntArray, FloatArray]:
    """Steps and values of one signal at one site, by step."""
    layers, layer_names = rows.codes("layer")
    names, site_names = rows.codes("site")
    signals, signal_names = rows.codes("signal")
    kept = (
        (layers == layer_names.index(site.layer))
        & (names == site_names.index(site.site))
        & (signals == _index(signal_names, signal))
    )
    return rows.ints("step")[kept], rows.floats("value")[kept]


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _site(layer: str, site: str, n_units: int, network: Network) -> Site:
    named = layer if site == "output" else _feeding_layer(layer, site, n_units, network)
    return Site(layer=layer, site=site, named=named, depth=network.depth_of(named), n_units=n_units)


def _feeding_layer(layer: str, site: str, n_units: int, network: Network) -> str:
    """The k-th layer with weights that the module itself calls; itself where that does not fit."""
    position = site.rpartition("#")[2]
    inside = [m.path for m in network.chain if m.path and network.caller_of(m.path) == layer]
    rows = {p.layer: p.rows for p in network.matrices}
    index = int(position) if position.isdigit() else 0
    if index < len(inside) and n_units in {0, rows[inside[index]]}:
        return inside[index]
    fitting = [path for path in inside if rows[path] == n_units]
    return fitting[min(index, len(fitting) - 1)] if fitting else layer


def _is_output(site: Site, network: Network) -> bool:
    """No weight matrix runs after it."""
    depths = [m.depth for m in network.matrices if m.depth < LAST]
    if not depths or site.depth >= LAST:
        return False
    if site.site != "output":
        return site.depth >= max(depths)
    return site.depth > max(depths)
