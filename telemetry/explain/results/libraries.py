"""What computed a result: names and versions of installed distributions."""

from collections.abc import Sequence
from importlib import metadata

OWN = "training-telemetry"


def libraries_text(distributions: Sequence[str]) -> str:
    """Such as `captum 0.9.0, scikit-learn 1.9.0`; of none this package, such as for own code."""
    return ", ".join(f"{name} {_version(name)}" for name in distributions or (OWN,))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # copied beside the script instead of installed
        return "of unknown version"
