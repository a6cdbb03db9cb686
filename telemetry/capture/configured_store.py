"""Where runs go when the script names no store."""

import logging
from pathlib import Path

from telemetry.configuration import store_folder
from telemetry.errors import UsageError
from telemetry.format.runs import DEFAULT_STORE

logger = logging.getLogger(__name__)


def configured_store() -> Path:
    """`$TELEMETRY_STORE`, `store` of the settings file, or the default.

    A settings file that is wrong does not stop a training: it is left aside with a warning.
    """
    try:
        return store_folder()
    except UsageError as error:
        logger.warning("%s The run is stored in ./%s.", error, DEFAULT_STORE)
        return Path(DEFAULT_STORE)
