"""Layers follow each other without a nonlinearity, so that several are one linear map.

Symptom: in the graph of the loss, the output of a linear layer or a convolution is read by another
one alone, with nothing in between but what is affine (reshapes, means, sums with constants,
dropout, BatchNorm), and one layer in place of both would need no more numbers; at least half of the
network's layers vanish so. They cost time and add nothing that a single one cannot learn.
Fix: put an activation such as nn.ReLU between them, or leave one of them out.
Information where all that there was to learn was learned: a linear network may be all that is
needed.
Not flagged: thin middles, as of low-rank adapters and linear autoencoders; convolutions by groups,
and a row and a column; projections of attention; weights that are tied or used several times;
embeddings before a linear layer; layers whose output something else reads as well. Single pairs in
a network that has nonlinearities elsewhere are a description. Compiled parts, frozen layers and
parametrised weights are not seen.
Source: Cybenko, 1989 (doi:10.1007/BF02551274); Humbatova et al., arXiv:1910.11015.
"""

from dataclasses import dataclass

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.counted_events import counted_events_sql, payloads
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example
from telemetry.json_values import Json, json_integer, json_list, json_object
from telemetry.store.sessions.rows import Rows

ID = "missing_nonlinearity"
LAYERS_SHARE = 0.5  # of the layers are left when those in a row are taken for one

SQL = counted_events_sql("linear_pairs", "linear_layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Two layers in a row, and how many features go in, between and out."""

    first: str
    second: str
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, entry: Json) -> "_Pair":
        """As an event tells it."""
        told = json_object(entry)
        return cls(
            first=_layer_of(str(told.get("first"))),
            second=_layer_of(str(told.get("second"))),
            sizes=tuple(json_integer(told.get(key)) or 0 for key in ("n_in", "n_between", "n_out")),
        )


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The layers of the last graph that was read."""
    steps, counts = rows.ints("step"), rows.floats("n")
    if not steps.size:
        return NotChecked(
            detector=ID,
            reason="the graph of no loss was read: no step was sampled, the graph is larger than "
            "is looked at, or no linear layer in it is the model's (compiled or sharded)",
        )
    told_of = payloads(rows)
    if not counts[-1] or not told_of:
        return None
    told = told_of[-1]
    pairs = [_Pair.of(entry) for entry in json_list(told.get("pairs"))]
    pairs = [pair for pair in pairs if not _is_of_attention(pair, context)]
    if not pairs:
        return None
    n_layers = max(json_integer(told.get("n_weights")) or 0, len(pairs) + 1)
    n_left = n_layers - len(pairs)
    candidate = Candidate(
        # A linear network may be all that is needed.
        strength=exact(Size.SLIGHT if context.learned_all else Size.CLEAR),
        message=f"{_named(pairs)} without a nonlinearity between them: "
        f"{n_layers} layers can do no more than {n_left}",
        advice="Put an activation such as nn.ReLU between them, or leave one of them out.",
        layer=pairs[0].first,
        layers=tuple(dict.fromkeys(name for p in pairs for name in (p.first, p.second))),
        first_step=int(steps[counts > 0][0]),
        last_step=int(steps[-1]),
        value=n_left / n_layers,
        threshold=limits["layers_share"],
        unit="share of the layers",
        evidence={
            "pairs": [[pair.first, pair.second, *pair.sizes] for pair in pairs],
            "query": example("steps", "step, linear_pairs", where="linear_pairs is not null"),
        },
    )
    vanish = candidate.value is not None and candidate.value <= limits["layers_share"]
    return candidate if vanish else Description(candidate=candidate)


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0] or name


def _is_of_attention(pair: _Pair, context: RunContext) -> bool:
    """Whether one of them is a projection of an attention, which has its own use for it."""
    attentions = {m.path for m in context.network.modules if m.role == "attention"}
    owners = {
        name
        for layer in (pair.first, pair.second)
        for name in (layer, layer.rpartition(".")[0])
        if name
    }
    return bool(owners & attentions)


def _named(pairs: list[_Pair]) -> str:
    first = pairs[0]
    sizes = " to ".join(map(str, first.sizes))
    more = f", and {len(pairs) - 1} more such pairs," if len(pairs) > 2 else ""  # noqa: PLR2004
    more = more or (", and one more such pair," if len(pairs) > 1 else "")
    return f"{first.first} and {first.second} ({sizes} features){more} follow each other"


DETECTOR = Detector(
    id=ID,
    title="linear layers in a row without a nonlinearity",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"layers_share": LAYERS_SHARE},
    advice="Put an activation between the layers.",
    source="doi:10.1007/BF02551274, arXiv:1910.11015",
    judge=judge,
    causes=("loss_not_decreasing", "loss_plateau"),
    shown=Shown(
        normal="Between two linear layers stands a nonlinearity, or they are a bottleneck."
    ),
)
