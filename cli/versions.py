"""What `telemetry --version` says, from package metadata: none of the libraries is imported."""

import platform
import tomllib
from importlib import metadata, resources

from telemetry import __version__
from telemetry.format.manifest import FORMAT

LIBRARIES = ("duckdb", "pyarrow", "torch")


def version_text() -> str:
    """Versions of telemetry, its libraries, the manifest format and every table."""
    libraries = "  ".join(f"{name} {library_version(name)}" for name in LIBRARIES)
    tables = "  ".join(f"{name} {version}" for name, version in table_versions().items())
    return "\n".join(
        (
            f"telemetry {__version__}",
            f"python {platform.python_version()}  {libraries}",
            f"schema: manifest {FORMAT}  {tables}",
        )
    )


def library_version(name: str) -> str:
    """The installed version, or `absent`."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def table_versions() -> dict[str, int]:
    """Version of every table; read here because `telemetry.format.tables` imports pyarrow."""
    files = resources.files("telemetry.schemas").iterdir()
    parsed = [
        tomllib.loads(file.read_text("utf-8")) for file in files if file.name.endswith(".toml")
    ]
    return {entry["table"]: entry["version"] for entry in sorted(parsed, key=lambda t: t["table"])}
