"""Libraries that some questions need and an installation may lack: said with the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from telemetry.errors import UsageError
from telemetry.requests.models import INSTALL

PACKAGES = {  # by what is imported
    "PIL": "Pillow",
    "captum": "captum",
    "matplotlib": "matplotlib",  # captum imports it
    "sklearn": "scikit-learn",
    "tqdm": "tqdm",  # captum, too
}


@contextmanager
def extra_installed(what: str) -> Iterator[None]:
    """A block in which a missing library of the extra is an error of use.

    Args:
        what: That needs it, in words.

    Raises:
        UsageError: one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:  # the user's own import
            raise
        raise UsageError(f"{what} needs {package}, which is not installed; {INSTALL}") from error
