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

from telemetry.cli.explain.coverage import add_coverage
from telemetry.cli.explain.dream import add_dream
from telemetry.cli.explain.features import add_features
from telemetry.cli.explain.input import add_input
from telemetry.cli.explain.perturb import add_perturb
from telemetry.cli.explain.reduce import add_reduce
from telemetry.cli.explain.stored import add_asked
from telemetry.cli.explain.weights import add_weights
from telemetry.cli.options import verb_group

command = verb_group(__name__, __doc__)
add_coverage(command)
add_input(command)
add_perturb(command)
add_reduce(command)
add_weights(command)
add_features(command)
add_dream(command)
add_asked(command)
