"""Find out why a trained model answers as it does.

Options name the model, weights and data set; by default they are those that the run names
(`TelemetryCallback(explain=...)`). Answers are stored in the run: `list` and `show` read them.

Examples:
  telemetry explain input latest --example 4711
  telemetry explain perturb latest --example 4711 --axis brightness
  telemetry explain reduce latest --wrong 4711 --right 4712
  telemetry explain coverage latest --train shop.data:train --test shop.data:night
  telemetry explain features latest --layer conv2 --evolution
  telemetry explain list latest
"""

from importlib import import_module

from telemetry.cli.explain.stored import add_stored
from telemetry.cli.options import verb_group
from telemetry.requests.kinds import explain_kinds

command = verb_group(__name__, __doc__)
for kind in explain_kinds():
    command.add_command(import_module(f"telemetry.cli.explain.{kind.name}").verb)
add_stored(command)
