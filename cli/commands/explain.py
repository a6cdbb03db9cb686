"""Ask a trained model why it answers as it does.

Model, weights and data set are those that the run names (`TelemetryCallback(explain=...)`), else
those that the options name. What is found lies in the run: `list` and `show` read it again.

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
