"""Something done right after a module has been imported, by whoever imports it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

__all__ = ["WhenImported"]


class WhenImported:
    """A finder for `sys.meta_path` that finds nothing itself, but does something after a module has been imported.

    `actions`: by the modules' names.
    """

    def __init__(self) -> None:
        self.actions: dict[str, Callable[[], None]] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Let the others find a module, and act after its code has run."""
        action = self.actions.pop(name, None)
        if action is None or (spec := find_spec(name)) is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run(module)
            action()

        spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec
