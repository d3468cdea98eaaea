"""The stubs of a mock answer the requests of httpx and httpx2 as well, where respx is installed.

respx stands in for the connections of httpcore; nothing that httpx does without one, such as calling an application
directly, comes here. Its stand-ins cost more than a whole test with requests, so doors are put there first, and respx
takes their places when a request comes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .mock import HttpMock
    from .respx_router import Bridge

__all__ = ["CORES", "HttpxSide"]

CORES = ("httpcore", "httpcore2")
"""What httpx and httpx2 connect with."""
RESPX = ("respx", "httpx", "httpcore")
"""What must be installed: respx cannot be loaded without the others."""
ENTRANCES = (
    ("ConnectionPool", "handle_request"),
    ("HTTPConnection", "handle_request"),
    ("AsyncConnectionPool", "handle_async_request"),
    ("AsyncHTTPConnection", "handle_async_request"),
)
"""Where requests come into httpcore; proxies are pools."""


class HttpxSide:
    """Leads httpx to a mock, from `start` to `stop`; does nothing where respx is not installed.

    Args:
        mock: answers the requests.
    """

    def __init__(self, mock: HttpMock) -> None:
        self._mock = mock
        self._bridges: dict[str, Bridge] = {}
        self._doors: list[Door] = []
        self._finder: Loads | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Be there for the requests of what is loaded, and of what will be."""
        waits = [core for core in CORES if core not in sys.modules]
        for core in CORES:
            if sys.modules.get(core) is not None and has_respx():  # None: somebody forbids its import
                self._attend(core)
        if waits:
            self._finder = Loads(waits, self._loaded)
            sys.meta_path.insert(0, self._finder)

    def _loaded(self, core: str) -> None:
        if self._finder is not None and has_respx():
            self._attend(core)

    def _attend(self, core: str) -> None:
        for owner, method in ENTRANCES:
            self._doors.append(Door(getattr(sys.modules[core], owner), method, lambda: self._open(core)))
        if "respx" in sys.modules:  # the test may use it too, and must find our stubs there
            self._join(core)

    def _join(self, core: str) -> Bridge:
        from .respx_router import bridge_of

        bridge = self._bridges[core] = bridge_of(core)
        bridge.join(self._mock)
        return bridge

    def _open(self, core: str) -> None:
        """Let respx take the places of the doors."""
        with self._lock:
            bridge = self._bridges.get(core) or self._join(core)
            bridge.cover(self._doors)

    def stop(self) -> None:
        """Give httpx its connections back."""
        if self._finder is not None:
            if self._finder in sys.meta_path:
                sys.meta_path.remove(self._finder)
            self._finder = None
        self._close_doors()
        for bridge in self._bridges.values():
            bridge.leave(self._mock)
        self._close_doors()  # respx puts back what it found
        self._bridges.clear()
        self._doors.clear()

    def _close_doors(self) -> None:
        for door in reversed(self._doors):
            door.close()


class Door:
    """Stands in for a method of httpcore's until the first request comes, or the test ends.

    Args:
        owner: the class.
        method: its method's name.
        opened: is called when a request comes, and has covered the door when it returns.

    Attributes:
        before: what stood there.
        stand_in: what stands there now.
        covered: what was put over the door when it was opened; of several threads one may have come to it before that.
    """

    def __init__(self, owner: type[Any], method: str, opened: Callable[[], None]) -> None:
        self._owner = owner
        self._method = method
        self.before = before = getattr(owner, method)
        self.covered: Callable[..., Any] | None = None
        self._is_closed = False

        def step() -> Callable[..., Any]:
            found: Callable[..., Any] = getattr(owner, method)
            if found is self.stand_in and not self._is_closed:
                opened()
                found = getattr(owner, method)
            # whoever else stands before the door has asked our stubs by respx already; a closed one may have been put back
            return found if found is self.covered else before

        if method == "handle_request":

            def handle_request(connection: Any, request: Any) -> Any:
                return step()(connection, request)

            self.stand_in: Any = handle_request
        else:

            async def handle_async_request(connection: Any, request: Any) -> Any:
                return await step()(connection, request)

            self.stand_in = handle_async_request
        setattr(owner, method, self.stand_in)

    def close(self) -> None:
        """Put back what was there, unless something else stands there by now."""
        self._is_closed = True
        self.covered = None
        if getattr(self._owner, self._method) is self.stand_in:
            setattr(self._owner, self._method, self.before)


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
        place = sys.meta_path.index(self) if self in sys.meta_path else -1
        # those behind us: another one of our kind that stands before us asks us in turn
        for finder in sys.meta_path[place + 1 :]:
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
        assert spec is not None  # it is how the module came here
        spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._tell(module.__name__)
