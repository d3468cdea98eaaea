"""The factories of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import FactoryError
from ..nearest import suggestion
from .binding import Binder, Bound
from .naming import loaded, name_of

__all__ = ["Factories"]


class Factories:
    """The factories of a test, on its session.

    Args:
        binder: knows which are on it.
        bound: the session of the test.
    """

    def __init__(self, binder: Binder, bound: Bound) -> None:
        self._binder, self._bound = binder, bound

    @property
    def session(self) -> Any:
        """The session that factories are on: a SQLAlchemy `Session`, or an `AsyncSession`."""
        return self._bound.face

    @property
    def bound(self) -> list[str]:
        """The factories that are on it, as `module:Factory`, of all that are loaded; without those of functions."""
        return sorted(name_of(each) for each in loaded() if is_lasting(each) and self._binder.governs(each._meta))

    def __getitem__(self, name: str) -> Any:
        """Return a loaded factory by its name, or by its model's if that has one factory alone.

        Raises:
            FactoryError: there is none, or there are several.
        """
        known = list(loaded())
        found = [each for each in known if name in (each.__name__, name_of(each))]
        found = found or [each for each in known if each._meta.model.__name__ == name]
        lasting = list(filter(is_lasting, found))
        found = lasting or found[-1:]  # those of earlier tests' own may not have gone yet
        if len(found) == 1:
            return found[0]
        if found:
            raise FactoryError(f"factories[{name!r}] may be any of {', '.join(sorted(map(name_of, found)))}; name one of them.")
        names = sorted({each.__name__ for each in known if is_lasting(each)})
        models = {each._meta.model.__name__ for each in known if is_lasting(each)}
        hint = suggestion(name, [*names, *models]) or (f"; there are: {', '.join(names)}." if names else "; none is loaded.")
        raise FactoryError(f"no loaded factory is called {name!r}, and none makes such a model{hint}")

    def create(self, factory: Any, **values: Any) -> Any:
        """Create an object; on an asynchronous session what is returned has to be awaited.

        Args:
            factory: the class, or its name.
            values: of the object's fields, as factory_boy takes them (user__role="customer").

        Raises:
            FactoryError: there is no such factory.
        """
        return self._made(lambda made: made.create(**values), factory)

    def create_batch(self, factory: Any, size: int, **values: Any) -> Any:
        """Create several objects; on an asynchronous session what is returned has to be awaited.

        Args:
            factory: the class, or its name.
            size: how many.
            values: of each one's fields.

        Raises:
            FactoryError: there is no such factory.
        """
        return self._made(lambda made: made.create_batch(size, **values), factory)

    def _made(self, make: Any, factory: Any) -> Any:
        which = self[factory] if isinstance(factory, str) else factory
        if not self._bound.is_async:
            return make(which)
        return self._bound.face.run_sync(lambda session: _kept(session, lambda: make(which)))

    def reset_sequences(self, value: int | None = None) -> None:
        """Let the sequences of all bound factories go on with a number, or begin again.

        Args:
            value: the next number; None for that with which the test began.
        """
        for each in loaded():
            meta = each._meta
            if meta.counter_reference is meta and self._binder.governs(meta):
                if value is None:
                    self._binder.begin_again(meta)
                else:
                    meta.reset_sequence(value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._bound.fixture}>"


def _kept(session: Any, make: Callable[[], Any]) -> Any:
    """Make something whose values are still there after a commit: nobody could await that they are read again."""
    before, session.expire_on_commit = session.expire_on_commit, False
    try:
        return make()
    finally:
        session.expire_on_commit = before


def is_lasting(factory: Any) -> bool:
    """Tell whether a factory is one of a module: those of earlier tests may not have gone yet."""
    return "<locals>" not in factory.__qualname__
