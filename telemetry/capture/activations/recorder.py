"""Measures the sites of one sampled step and keeps what was measured until it is packed."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from telemetry.capture.activations.attention import AttentionInputs, measure_attention
from telemetry.capture.activations.embeddings import TouchedRows
from telemetry.capture.activations.loss_inputs import observe_losses, observe_output_logits
from telemetry.capture.activations.modules import ModuleNode, UnitDims
from telemetry.capture.activations.records import Forward, Label, Measures, Observation
from telemetry.capture.activations.recurrent import GradientPlace
from telemetry.capture.activations.statistics import (
    MAX_ELEMENTS,
    Family,
    dtype_name,
    has_spread,
    is_observable,
    leading,
    measure,
    measure_gradient,
    measure_input,
    measure_spread,
)
from telemetry.capture.activations.target_correlation import (
    N_SAMPLES,
    is_table,
    largest_correlation,
)
from telemetry.capture.tensors.loss_graph import LossInputs, LossOp, losses_of, note_first_logits

MAX_CALLS = 64  # of one site in one step: a cell called once per time step is seen that often
ROOT = ""
ATTENTION = "attention_logits"


class SiteRecorder:
    """Observations of one model, step after step."""

    def __init__(self) -> None:
        self._observations: list[Observation[Tensor]] = []
        # Logits of a root whose loss is not known yet; a known loss says more about them.
        self._candidates: list[Observation[Tensor]] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._unit_dims = UnitDims()
        self._loss_known = False
        self._loss_seen = False
        self._touched = TouchedRows()
        # Batches counted by normalisation layers when they were last observed.
        self._batches: dict[str, Tensor] = {}
        # Observed inputs of the step, where they stand among the observations.
        self._tables: list[tuple[int, Tensor]] = []
        self._correlations_left = N_SAMPLES

    def take(self) -> list[Observation[Tensor]]:
        """What was observed since the last call and whose phase is known; the rest stays."""
        if not self._loss_seen:
            self._observations += self._candidates
        self._loss_known, self._loss_seen = self._loss_seen, False
        self._candidates = []
        self._tables.clear()
        return self.take_settled()

    def take_settled(self) -> list[Observation[Tensor]]:
        """The same in a step of which nothing but evaluations is looked at."""
        self._calls.clear()
        known = [o for o in self._observations if o.label.forward.phase is not None]
        self._observations = [o for o in self._observations if o.label.forward.phase is None]
        return known + self._touched.take()

    def input(self, node: ModuleNode, values: Iterable[Tensor], forward: Forward) -> None:
        """The first floating tensor that enters an outermost forward."""
        entering = next((value for value in values if is_observable(value)), None)
        if entering is None or not self._wanted(node.path, "input"):
            return
        part = leading(entering.detach(), MAX_ELEMENTS)
        self._add(node, "input", part, forward, measure_input(part))
        wanted = forward.phase is not None and self._correlations_left > 0
        if wanted and node.path == ROOT and is_table(entering):
            self._tables.append((len(self._observations) - 1, entering))

    def output(self, node: ModuleNode, output: Tensor, forward: Forward) -> None:
        """The output of an observed module; an observable tensor."""
        self._unit_dims.learn(node.module, output)
        if not self._wanted(node.path, "output"):
            return
        part = leading(output.detach(), MAX_ELEMENTS)
        unit_dim = self._unit_dims.of(output)
        measures = measure(part, family=node.family, unit_dim=unit_dim)
        if (node.has_parameters or node.is_block) and has_spread(part):
            means, variances = measure_spread(part)
            measures = measures._replace(row_means=means, row_variances=variances)
        n_batches = node.module._buffers.get("num_batches_tracked")  # noqa: SLF001 - an attribute that is missing takes 2 us
        if n_batches is not None:
            measures = measures._replace(bn_updates=self._new_batches(node.path, n_batches))
        self._add(node, "output", part, forward, measures, unit_dim)

    def embedded(self, node: ModuleNode, indices: object, forward: Forward) -> None:
        """What an embedding was called with."""
        with torch.no_grad():
            self._touched.add(node, indices, forward)

    def operation(
        self, node: ModuleNode, site: str, family: Family, result: Tensor, forward: Forward
    ) -> Observation[Tensor] | None:
        """The result of a functional activation in the forward of a module."""
        if not is_observable(result) or not self._wanted(node.path, site):
            return None
        part = leading(result.detach(), MAX_ELEMENTS)
        unit_dim = self._unit_dims.of(result)
        measures = measure(part, family=family, unit_dim=unit_dim)
        self._add(node, site, part, forward, measures, unit_dim)
        return self._observations[-1]

    def dropout(self, node: ModuleNode, site: str, result: Tensor, forward: Forward) -> None:
        """What a dropout that is on has left of something, in the forward of a module."""
        if is_observable(result) and self._wanted(node.path, site):
            part = leading(result.detach(), MAX_ELEMENTS)
            self._add(node, site, part, forward, Measures(n_nonzero=part.ne(0).sum()))

    def retract(self, observation: Observation[Tensor]) -> None:
        """It was nothing to record; one of the last observations."""
        for place in range(len(self._observations) - 1, -1, -1):
            if self._observations[place] is observation:
                del self._observations[place]
                return

    def attention(self, node: ModuleNode, inputs: AttentionInputs, forward: Forward) -> bool:
        """The logits of an attention in the forward of a module; False if it is none."""
        if not is_observable(inputs.values) or not self._wanted(node.path, ATTENTION):
            return False
        with torch.no_grad():
            found = measure_attention(inputs, node.module)
        if found is None:
            return False
        label = Label(
            path=node.path,
            site=ATTENTION,
            forward=forward,
            dtype=dtype_name(inputs.values),
            n=found.n,
            n_units=found.n_heads,
            training=node.module.training,
        )
        self._observations.append(Observation(label=label, measures=found.measures))
        return True

    def gradient(
        self, node: ModuleNode, gradient: Tensor, forward: Forward, place: GradientPlace
    ) -> None:
        """The gradient of the loss with respect to a module's output or input."""
        if not is_observable(gradient):
            return
        steps = place.steps
        part = leading(gradient.detach(), MAX_ELEMENTS)
        measures = measure_gradient(part)
        if steps is not None and part.shape == gradient.shape:
            measures = measures._replace(step_norms=steps.norms(part))
        label = Label(
            path=node.path,
            site=place.site,
            forward=forward,
            dtype=dtype_name(part),
            n=part.numel(),
            training=node.module.training,
            call=place.call,
            n_steps=None if steps is None else steps.n_steps,
        )
        self._observations.append(Observation(label=label, measures=measures))

    def root_outputs(self, node: ModuleNode, outputs: Iterable[Tensor], forward: Forward) -> None:
        """What an outermost forward returned: maybe the logits of a loss."""
        with torch.no_grad():
            floating = [output for output in outputs if is_observable(output)]
            for output in floating:
                note_first_logits(output)
            if node.path != ROOT or (self._loss_known and forward.phase is not None):
                return
            for output in floating:
                training = node.module.training
                logits = observe_output_logits(output.detach(), forward, training=training)
                if logits is not None and self._wanted(ROOT, "logits"):
                    kept = self._observations if forward.phase is None else self._candidates
                    kept.append(logits)
                    return

    def losses(self, roots: Sequence[Tensor], forward: Forward) -> LossOp | None:
        """Logits and targets of the losses that a backward pass starts from; which losses."""
        losses = losses_of(roots)
        observations = observe_losses(losses, forward)
        self._loss_seen |= bool(observations)
        self._observations += observations
        if self._tables and losses:
            with torch.no_grad():
                self._correlate(losses)
        return losses[0].op if losses else None

    def _correlate(self, losses: Sequence[LossInputs]) -> None:
        """Add to an observed input how well a feature of it tells the target of these losses."""
        place, features = self._tables.pop()
        found = [largest_correlation(features, loss) for loss in losses]
        known = [correlation for correlation in found if correlation is not None]
        if known:
            self._correlations_left -= 1
            former = self._observations[place]
            measures = former.measures._replace(target_corr=known[0])
            self._observations[place] = Observation(label=former.label, measures=measures)

    def _new_batches(self, path: str, n_batches: Tensor) -> Tensor | None:
        """Batches counted since the last call; None at the first."""
        former = self._batches.get(path)
        self._batches[path] = now = n_batches.detach().clone()
        return None if former is None or former.device != now.device else now - former

    def _wanted(self, path: str, site: str) -> bool:
        self._calls[path, site] += 1
        return self._calls[path, site] <= MAX_CALLS

    def _add(
        self,
        node: ModuleNode,
        site: str,
        values: Tensor,
        forward: Forward,
        measures: Measures[Tensor],
        unit_dim: int | None = None,
    ) -> None:
        label = Label(
            path=node.path,
            site=site,
            forward=forward,
            dtype=dtype_name(values),
            n=values.numel(),
            n_units=None if unit_dim is None else values.shape[unit_dim],
            training=node.module.training,
        )
        self._observations.append(Observation(label=label, measures=measures))
