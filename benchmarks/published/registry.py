"""All cases: importing a file of `cases/` registers those in it."""

import importlib
import pkgutil

import published.cases
from published.case import CASES

for _entry in pkgutil.iter_modules(published.cases.__path__):
    importlib.import_module(f"published.cases.{_entry.name}")

__all__ = ["CASES"]
