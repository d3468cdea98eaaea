"""What a function is made of: the sources that it reaches, and the values that are bound to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType

from .sources import import_closure

Parts = Iterator[tuple[str, bytes]]


class Unknown(Exception):
    """Something cannot be told in a text that is the same in each process."""


class Code:
    """Collects the files in which callables are written, and what simple values are bound to them.

    Raises:
        Unknown: Something has no source file, or holds values that only this process can read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: list[object] = []
        self.files: set[str] = set()
        self.texts: list[str] = []

    def of(self, function: object) -> Parts:
        """Tell of one function."""
        self.look(function)
        return self.parts()

    def parts(self) -> Parts:
        """Tell what was taken in, and whatever its modules import."""
        for text in self.texts:
            yield "code", text.encode("utf-8", "surrogateescape")
        yield from sorted(import_closure(sorted(self.files), self._root).items())

    def look(self, value: object) -> None:
        """Take in a callable, or a value that is bound to one."""
        if value is None or isinstance(value, str | int | float | bytes | Path):
            self.texts.append(f"{type(value).__qualname__} {value if isinstance(value, Path) else repr(value)}")
        elif before := [number for number, seen in enumerate(self._seen) if seen is value]:
            self.texts.append(f"again number {before[0]}")
        else:
            self._seen.append(value)
            self._look_inside(value)

    def _look_inside(self, value: object) -> None:
        if isinstance(value, tuple | list):
            self._each(type(value).__name__, value)
        elif isinstance(value, dict):
            self._each("dict", [part for item in value.items() for part in item])
        elif isinstance(value, partial):
            self._each("partial", [value.func, *value.args, value.keywords])
        elif isinstance(value, MethodType):
            self._each("method", [value.__func__, value.__self__])
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type | ModuleType):
            self.texts.append(f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value.__name__)}")
            module = value if isinstance(value, ModuleType) else sys.modules.get(value.__module__)
            self._source(getattr(module, "__file__", None))
        else:
            raise Unknown(repr(value))

    def _each(self, kind: str, values: Sequence[object]) -> None:
        self.texts.append(f"{kind} of {len(values)}")
        for value in values:
            self.look(value)

    def _function(self, function: FunctionType) -> None:
        code = function.__code__
        self.texts.append(f"{function.__module__} {function.__qualname__} {code.co_name} {code.co_firstlineno}")
        self._source(code.co_filename)
        try:
            bound = [cell.cell_contents for cell in function.__closure__ or ()]
        except ValueError as error:  # an empty cell
            raise Unknown(function.__qualname__) from error
        if "<" in function.__qualname__:  # made anew each time: its defaults may be what it was made with
            bound += [*(function.__defaults__ or ()), function.__kwdefaults__]
        self._each("bound", bound)

    def _source(self, file: str | None) -> None:
        if not file or not file.endswith(".py") or not os.path.isfile(file):
            raise Unknown(str(file))
        self.files.add(os.path.abspath(file))
