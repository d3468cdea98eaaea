"""Frozen records for the host process: dataclasses to a type checker, a fraction of their cost at run time.

Loading `dataclasses` (and with it `inspect`) and generating its methods takes a fifth of the time in
which a local PostgreSQL is up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from typing import Any
else:

    def record(*, frozen, kw_only=False):
        """Return a class decorator that does what `dataclasses.dataclass` does with the same arguments.

        Annotated names are fields, assigned ones have a default. Names in `_hidden` are left out of
        the repr.
        """
        assert frozen

        def wrap(cls):
            names = tuple(name for name in cls.__annotations__ if not name.startswith("_"))
            defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}

            def __init__(self, *values, **given):
                if len(values) == len(names) and not kw_only and not given:  # a mark is made before each test
                    self.__dict__.update(zip(names, values, strict=True))
                    return
                if values and (kw_only or len(values) > len(names)):
                    raise TypeError(f"{cls.__name__} takes {0 if kw_only else len(names)} positional arguments")
                found = {**defaults, **dict(zip(names, values, strict=False)), **given}
                if found.keys() != set(names):
                    wrong = ", ".join(sorted(found.keys() ^ set(names)))
                    raise TypeError(f"{cls.__name__} has missing or unknown fields: {wrong}")
                self.__dict__.update(found)

            cls.__init__ = __init__
            cls.__match_args__ = () if kw_only else names
            cls._fields = names
            for method in (__setattr__, __delattr__, __eq__, __hash__, __repr__):
                setattr(cls, method.__name__, method)
            return cls

        return wrap

    def __setattr__(self, name, value):
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be set")

    def __delattr__(self, name):
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be deleted")

    def __eq__(self, other):
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self):
        return hash(tuple(self.__dict__.items()))

    def __repr__(self):
        hidden = getattr(self, "_hidden", ())
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields if name not in hidden)
        return f"{type(self).__name__}({shown})"


__all__ = ["as_data", "changed", "record"]


def as_data(value: Any) -> Any:
    """Return a record as dicts, lists and plain values, for JSON."""
    if hasattr(value, "_fields"):
        return {name: as_data(value.__dict__[name]) for name in value._fields}
    if isinstance(value, dict):
        return {name: as_data(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    return value


def changed(value: Any, changes: dict[str, Any]) -> Any:
    """Return a copy of a record with some fields changed."""
    return type(value)(**{**value.__dict__, **changes})
