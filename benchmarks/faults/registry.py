"""Every recipe, registered: the modules that hold recipes are imported here."""

import control_tasks  # noqa: F401
import control_variants  # noqa: F401
import controls  # noqa: F401
import data_faults  # noqa: F401
import decay_recipes  # noqa: F401
import everyday_recipes  # noqa: F401
import faulty  # noqa: F401
import input_recipes  # noqa: F401
import kind_recipes  # noqa: F401
import later_controls  # noqa: F401
import layer_recipes  # noqa: F401
import logit_recipes  # noqa: F401
import loss_and_optimizer  # noqa: F401
import mode_faults  # noqa: F401
import more_controls  # noqa: F401
import more_faults  # noqa: F401
import rate_recipes  # noqa: F401
import remaining_recipes  # noqa: F401
import scaled_faults  # noqa: F401
import sequence_recipes  # noqa: F401
import set_recipes  # noqa: F401
import weight_recipes  # noqa: F401
import wiring_faults  # noqa: F401
from recipe import RECIPES

__all__ = ["RECIPES"]
