"""What the screen shows at a moment: the looks at the runs, and what the user chose of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from telemetry.compare.plot.plot import PlottedMetric, plot_of
from telemetry.compare.watch.sight import Sight
from telemetry.errors import Inconclusive

MOST_METRICS = 12  # that the key goes through


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: cached_property
class View:
    """The state of the screen.

    Attributes:
        sights: The last look at each run, in the order in which they were named; None before the
            first.
        place: Of the run that is shown.
        metric: Counts how often the user asked for the next metric.
        sought: Text that layers and findings must hold; '' shows all.
        has_colours: Whether colours may be used.
        has_unicode: Whether more than ASCII may be.
    """

    sights: tuple[Sight | None, ...]
    place: int = 0
    metric: int = 0
    sought: str = ""
    has_colours: bool = True
    has_unicode: bool = True

    @property
    def sight(self) -> Sight | None:
        """The look at the run that is shown."""
        return self.sights[self.place]

    @cached_property
    def metrics(self) -> tuple[PlottedMetric, ...]:
        """What there is to draw: the usual metrics of all runs, then the others."""
        seen = [sight for sight in self.sights if sight is not None]
        try:
            runs, curves = [one.run for one in seen], [one.curves for one in seen]
            usual = plot_of(runs, curves).metrics
        except Inconclusive:
            return ()
        names = dict.fromkeys(metric.name for metric in usual)
        names |= dict.fromkeys(curve.name for own in curves for curve in own)
        return plot_of(runs, curves, metrics=list(names)[:MOST_METRICS]).metrics

    def matches(self, texts: Sequence[str | None]) -> bool:
        """Whether one of the texts holds what is sought."""
        return not self.sought or any(self.sought in text for text in texts if text)
