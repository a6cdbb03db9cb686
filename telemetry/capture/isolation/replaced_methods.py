"""Functions of torch's classes and modules that are replaced while somebody observes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Generic, TypeAlias, TypeVar

O = TypeVar("O")  # noqa: E741 - an observer
MakeMethod: TypeAlias = Callable[[FunctionType], object]
Owner: TypeAlias = type | ModuleType


class ReplacedMethods(Generic[O]):
    """The observers of some methods, which are replaced as long as there is one, and put back.

    A method is replaced on its class, so that objects made before are seen, and those of subclasses
    that inherit it; a function in each module that holds it.

    Args:
        find: Gives class or module, name, and what makes the new method from the original. The new
            method must have it as `__wrapped__` and tell whom `observers` names when it is called.

    Attributes:
        observers: Who is to be told.
    """

    def __init__(self, find: Callable[[], Iterable[tuple[Owner, str, MakeMethod]]]) -> None:
        self.observers: tuple[O, ...] = ()
        self._find = find
        self._lock = threading.Lock()
        self._replaced: list[tuple[Owner, str, FunctionType]] = []

    def observe(self, observer: O) -> None:
        """Tell it from now on."""
        with self._lock:
            self.observers = (*self.observers, observer)
            if self._replaced:
                return
            for owner, name, make in self._find():
                original: FunctionType = vars(owner)[name]
                self._replaced.append((owner, name, original))
                setattr(owner, name, make(original))

    def forget(self, observer: O) -> None:
        """Tell it no more; the last one out puts the methods back."""
        with self._lock:
            self.observers = tuple(other for other in self.observers if other is not observer)
            if self.observers:
                return
            for owner, name, original in self._replaced:
                # Where somebody replaced the method after us, it is theirs.
                if getattr(vars(owner).get(name), "__wrapped__", None) is original:
                    setattr(owner, name, original)
            self._replaced.clear()


def owners_of(base: type, name: str) -> Iterator[type]:
    """A class and those of its subclasses that have a method of their own under a name."""
    pending, seen = [base], set[type]()
    while pending:
        owner = pending.pop()
        if owner in seen:  # reached by two bases
            continue
        seen.add(owner)
        pending += type.__subclasses__(owner)
        if isinstance(vars(owner).get(name), FunctionType):
            yield owner
