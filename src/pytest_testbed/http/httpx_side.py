"""The stubs of a mock answer the requests of httpx and httpx2 as well, where respx is installed.

respx stands in for the connections of httpcore; nothing that httpx does without one, such as calling an application
directly, comes here. It is loaded when httpcore is: a run without httpx does not pay for it.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .mock import HttpMock

__all__ = ["CORES", "HttpxSide"]

CORES = ("httpcore", "httpcore2")
"""What httpx and httpx2 connect with."""
RESPX = ("respx", "httpx", "httpcore")
"""What must be installed: respx cannot be loaded without the others."""


class HttpxSide:
    """Leads httpx to a mock, from `start` to `stop`; does nothing where respx is not installed.

    Args:
        mock: answers the requests.
    """

    def __init__(self, mock: HttpMock) -> None:
        self._mock = mock
        self._routers: list[Any] = []
        self._finder: Loads | None = None

    def start(self) -> None:
        """Stand in for the connections of what is loaded, and of what will be."""
        waits = [core for core in CORES if core not in sys.modules]
        if len(waits) < len(CORES) and has_respx():
            for core in CORES:
                if core not in waits:
                    self._route(core)
        if waits:
            self._finder = Loads(waits, self._loaded)
            sys.meta_path.insert(0, self._finder)

    def _loaded(self, core: str) -> None:
        if self._finder is not None and has_respx():
            self._route(core)

    def _route(self, core: str) -> None:
        from .respx_router import router

        found = router(core, self._mock)
        found.start()
        self._routers.append(found)

    def stop(self) -> None:
        """Give httpx its connections back."""
        if self._finder is not None:
            if self._finder in sys.meta_path:
                sys.meta_path.remove(self._finder)
            self._finder = None
        while self._routers:
            self._routers.pop().stop(quiet=True)


@lru_cache(maxsize=1)
def has_respx() -> bool:
    """Tell whether respx can be loaded."""
    return all(sys.modules[name] is not None if name in sys.modules else find_spec(name) is not None for name in RESPX)


class Loads(MetaPathFinder):
    """Tells when a module has been loaded; leaves it to others to find it.

    Args:
        names: of the modules.
        tell: is called with a name as soon as that module can be used.
    """

    def __init__(self, names: Sequence[str], tell: Callable[[str], None]) -> None:
        self._names = set(names)
        self._tell = tell

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return what others find, with a loader that tells."""
        if name not in self._names:
            return None
        for finder in list(sys.meta_path):
            spec = finder.find_spec(name, path, target) if finder is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = Tells(spec.loader, self._tell)
                return spec
        return None


class Tells(Loader):
    """A loader that does what another does, and tells."""

    def __init__(self, loader: Any, tell: Callable[[str], None]) -> None:
        self._loader = loader
        self._tell = tell

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Do what the other does."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Do what the other does, leave no trace, and tell."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._tell(module.__name__)
