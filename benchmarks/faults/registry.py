"""Every recipe, registered: each module of `recipes/` registers its own when it is imported."""

import pkgutil
from importlib import import_module

import recipes
from recipe import RECIPES

for _module in pkgutil.iter_modules(recipes.__path__):
    import_module(f"{recipes.__name__}.{_module.name}")

__all__ = ["RECIPES"]
