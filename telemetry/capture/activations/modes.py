"""Which layers that behave differently in training and in evaluation are in which mode.

A mode is an attribute of a module, so reading it costs no work of a device. The lists of layers are
kept, and looked up again now and then.
"""

from dataclasses import dataclass

from torch import nn

MAX_MODULES = 1024  # of which the share in training mode is told, spread over the model
REFRESH_EVERY = 64  # reads; adapters may have been added
# What layers of torch and of libraries call the share that they drop.
DROP_NAMES = ("p", "dropout", "drop_prob", "dropout_p", "drop_p", "drop_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The modes of a model at one moment.

    Attributes:
        training_share: Share of its modules that are in training mode.
        n_norm: Normalisation layers with running statistics that are in training mode.
        n_dropout: Layers that drop something and are in training mode.
    """

    training_share: float
    n_norm: int
    n_dropout: int


class ModeReader:
    """Reads the modes of one model.

    Args:
        model: Unwrapped.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._n_reads = 0
        self._modules: list[nn.Module] = []
        self._norms: list[nn.Module] = []
        self._dropouts: list[nn.Module] = []

    def read(self) -> Modes:
        """The modes now."""
        if self._n_reads % REFRESH_EVERY == 0:
            self._look_up()
        self._n_reads += 1
        n_training = sum(module.training for module in self._modules)
        return Modes(
            training_share=n_training / len(self._modules),
            n_norm=sum(module.training for module in self._norms),
            n_dropout=sum(module.training for module in self._dropouts),
        )

    def _look_up(self) -> None:
        modules = list(self._model.modules())
        self._modules = modules[:: -(-len(modules) // MAX_MODULES)]
        self._norms = [module for module in modules if keeps_statistics(module)]
        self._dropouts = [module for module in modules if drops(module)]


def keeps_statistics(module: nn.Module) -> bool:
    """Whether it learns statistics of batches in training mode, and uses them in evaluation."""
    return getattr(module, "track_running_stats", None) is True


def drops(module: nn.Module) -> bool:
    """Whether it says that it sets a share of something to zero in training mode."""
    own = module.__dict__
    shares = (own.get(name) for name in DROP_NAMES)
    return any(isinstance(share, float) and 0 < share <= 1 for share in shares)
