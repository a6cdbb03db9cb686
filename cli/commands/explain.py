"""Find out why a trained model answers as it does.

`telemetry explain RUN` sums up what is wrong with a model's answers. Options name the model,
weights and data set; by default they are those that the run names
(`TelemetryCallback(explain=...)`). Answers are stored in the run: `list` and `show` read them.

Examples:
  telemetry explain latest
  telemetry explain input latest --example 4711
  telemetry explain perturb latest --example 4711 --axis brightness
  telemetry explain coverage latest --train shop.data:train --test shop.data:night
  telemetry explain features latest --layer conv2 --evolution
  telemetry explain list latest
"""

from importlib import import_module

from telemetry.cli.explain import summary
from telemetry.cli.explain.stored import add_stored
from telemetry.cli.options import verb_group
from telemetry.requests.kinds import explain_kinds

GROUP = "Explain"
command = verb_group(__name__, __doc__)
for kind in explain_kinds():
    command.add_command(import_module(f"telemetry.cli.explain.{kind.name}").verb)
add_stored(command)
command.add_command(summary.verb)
command.usual = summary.NAME
