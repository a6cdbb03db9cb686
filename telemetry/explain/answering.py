"""Finds what answers a kind of question."""

from importlib import import_module
from types import ModuleType

from telemetry.requests.kinds import RequestKind
from telemetry.requests.values import Request


def answering(kind: RequestKind[Request]) -> ModuleType:
    """The module of a kind: its `answer`, and of results their `FORMAT`; loading it takes time."""
    return import_module(f"telemetry.explain.{kind.room}.{kind.name}_answers")
