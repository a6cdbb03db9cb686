"""How results show themselves in a notebook: as screens of the terminal, in HTML or Markdown."""

from importlib import import_module

DRAWN_BY = "telemetry.cli.notebook"  # imported when something is shown, as the terminal's home is


class ShownInNotebooks:
    """A result that a notebook shows as `telemetry` would show it in a terminal."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(import_module(DRAWN_BY).html(self))

    def _repr_markdown_(self) -> str:
        return str(import_module(DRAWN_BY).markdown(self))
