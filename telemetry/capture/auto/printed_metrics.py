"""Metrics that a script prints as `name=value` or `name: value`, read while they pass by."""

import re
from collections.abc import Callable, Mapping
from typing import TextIO

from telemetry.capture.auto.observed_calls import seen_before

LINE_LIMIT = 4096  # characters of a line that are read
_WORD = r"[A-Za-z_][\w./-]*"
_NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
# Not the beginning of something else: a time of day, a fraction, a date, a number with thousands.
_END = r"(?![\w/:-]|[.,]\d)"
_PAIR = re.compile(
    rf"(?<![\w./-])(?:(?P<name>{_WORD})\s*=|(?P<words>{_WORD}(?: {_WORD}){{0,3}})\s*:)"
    rf"\s*(?P<value>{_NUMBER}){_END}",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

Log = Callable[[Mapping[str, object]], None]


def metrics_of(line: str) -> dict[str, float]:
    """Numbers of a line by name; several words before a colon are one name, joined by `_`."""
    text = _COLOUR.sub("", line[:LINE_LIMIT])
    return {
        (found["name"] or "_".join(found["words"].split())): float(found["value"])
        for found in _PAIR.finditer(text)
    }


class PrintedMetrics:
    """Reads what is written to a stream, line by line; the stream and its output stay the same.

    Args:
        stream: Its `write` is seen until `stop()`.
        log: Gets the metrics of a line.
    """

    def __init__(self, stream: TextIO, log: Log) -> None:
        self._stream = stream
        self._log = log
        self._line = ""
        self._write = seen_before(stream.write, self._see, "printed metrics")
        vars(stream)["write"] = self._write

    def stop(self) -> None:
        """Read no more; a `write` that somebody else has put there since is theirs."""
        if vars(self._stream).get("write") is self._write:
            del vars(self._stream)["write"]

    def _see(self, text: str) -> None:
        *whole, rest = re.split(r"[\r\n]", self._line + text)
        self._line = rest[:LINE_LIMIT]
        for line in whole:
            metrics = metrics_of(line)
            if metrics:
                self._log(metrics)
