"""Factories by their names: those that an option names, those that are loaded, and the names that their fixtures have."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from ..errors import ConfigurationError
from ..nearest import suggestion

__all__ = ["Rebind", "factories_in", "fixture_name", "imported", "loaded", "name_of"]


class Rebind:
    """Names of factories that are bound though they have a session of their own.

    Args:
        names: `module:Factory`, or `module` for all that are defined in it, or below it.
        option: the option that names them and where that was said, for errors.
    """

    def __init__(self, names: Iterable[str] = (), option: str = "") -> None:
        self._names, self._option = list(names), option

    def __bool__(self) -> bool:
        return bool(self._names)

    def names(self, factory: Any) -> bool:
        """Tell whether a factory is named, or a base from which it has its session."""
        own = _session_of(factory)
        return any(self._is_named(each) and _session_of(each) is own for each in factory.__mro__ if "_meta" in vars(each))

    def _is_named(self, factory: Any) -> bool:
        module = factory.__module__
        return any(
            name == f"{module}:{factory.__qualname__}" if ":" in name else f"{module}.".startswith(f"{name}.")
            for name in self._names
        )

    def check(self) -> None:
        """Import what is named.

        Raises:
            ConfigurationError: there is no such module, or no such factory in it; says what is near.
        """
        for name in self._names:
            module_name, colon, factory = name.partition(":")
            module = imported(module_name, self._option)
            found = factories_in(module)
            if colon and factory not in found:
                is_other = hasattr(module, factory)
                what = "which is no factory_boy factory" if is_other else f"which {module_name} does not have"
                near = suggestion(factory, found) or (f"; there are: {', '.join(found)}." if found else "; it has no factories.")
                raise ConfigurationError(f"{self._option} names {name!r}, {what}{near}")
            if not colon and not found and not hasattr(module, "__path__"):
                raise ConfigurationError(f"{self._option} names {name!r}, a module that has no factories.")


def _session_of(factory: Any) -> object:
    said = vars(factory._meta)
    return said.get("sqlalchemy_session_factory") or said.get("sqlalchemy_session")


def factories_in(module: ModuleType) -> dict[str, Any]:
    """Return the factories that a module has, by name; those of factory_boy itself are none."""
    base = getattr(sys.modules.get("factory.base"), "Factory", None)
    return {
        name: value
        for name, value in vars(module).items()
        if base is not None
        and isinstance(value, type)
        and issubclass(value, base)
        and value.__module__.partition(".")[0] != "factory"
    }


def loaded() -> Iterator[Any]:
    """Yield all SQLAlchemy factories that are loaded and can create something, each once."""
    seen, waiting = set(), [sys.modules["factory.alchemy"].SQLAlchemyModelFactory]
    while waiting:
        factory = waiting.pop()
        if factory not in seen:
            seen.add(factory)
            waiting.extend(factory.__subclasses__())
            if not factory._meta.abstract and _is_there(factory):
                yield factory


def _is_there(factory: Any) -> bool:
    """Tell whether a factory is what its name says: not one of a module that has been imported anew, for one."""
    found: Any = sys.modules.get(factory.__module__)
    if "<locals>" in factory.__qualname__:
        return found is not None
    for part in factory.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is factory


def name_of(factory: Any) -> str:
    """Return the name by which an option can name a factory."""
    return f"{factory.__module__}:{factory.__qualname__}"


def fixture_name(factory: Any) -> str:
    """Return the name of the fixture of what a factory makes: "order_item" for an OrderItemFactory."""
    from re import sub

    stem = factory.__name__.removesuffix("Factory") or factory.__name__
    return sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", stem.strip("_")).lower()


def imported(name: str, option: str, paths: Sequence[str] = ()) -> ModuleType:
    """Import a module that an option names.

    Args:
        name: of the module.
        option: and where that was said, for errors.
        paths: folders in which it may be as well.

    Raises:
        ConfigurationError: there is none, with the nearest; or it could not be imported, with the reason.
    """
    if name in sys.modules:
        return sys.modules[name]
    added = [path for path in paths if path not in sys.path]
    sys.path.extend(added)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _broken(name, option, error) from error
        raise ConfigurationError(f"{option} names {name!r}, and {_missing(error.name)}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also a module that skips, or that is a script and exits
        raise _broken(name, option, error) from error
    finally:
        sys.path[:] = [path for path in sys.path if path not in added]


def _broken(name: str, option: str, error: BaseException) -> ConfigurationError:
    what, step = str(error), error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    place = f" ({step.tb_frame.f_code.co_filename}:{step.tb_lineno})" if step is not None else ""
    if isinstance(error, SyntaxError):  # its own words name the place as well, and shorter
        what, place = error.msg, f" ({error.filename}:{error.lineno})"
    return ConfigurationError(f"{option} names {name!r}, which could not be imported: {type(error).__name__}: {what}{place}")


def _missing(name: str) -> str:
    parent, _, last = name.rpartition(".")
    paths = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and paths is None:
        hint = f" Write {parent!r}, without .py." if last == "py" else ""
        return f"{parent!r} is a module and not a package.{hint}"
    near = suggestion(last, [module.name for module in iter_modules(paths) if module.name != "factory"])  # that is factory_boy
    where = f"in the package {parent!r}" if parent else "on sys.path"
    hint = "" if parent else " If it is in a folder of the project, name that folder in pytest's ini option `pythonpath`."
    return f"there is no module {last!r} {where}{near or '.'}{hint}"
