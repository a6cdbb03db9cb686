"""Build step: `training_telemetry.pth` goes beside the package, where Python runs it at start.

Loaded by setuptools alone, for a wheel and for an editable installation.
"""

from pathlib import Path

from setuptools.command.build_py import build_py

START_FILE = "training_telemetry.pth"


class BuildWithStartFile(build_py):
    """Builds the package and puts the start file at the top of what is installed."""

    def run(self) -> None:
        """As usual, then the file."""
        super().run()
        # What an editable wheel holds besides a link is put where `install` would put it.
        install_lib = self.get_finalized_command("install").install_lib
        target = install_lib if self.editable_mode else self.build_lib
        self.copy_file(str(Path(__file__).with_name(START_FILE)), str(Path(target, START_FILE)))
