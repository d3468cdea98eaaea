"""Objects by their import path, and errors that say which part of a path is wrong."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from difflib import get_close_matches
from types import ModuleType

from ..errors import SchemaError


def import_object(path: str) -> object:
    """Import `package.module:object.attribute`, or just the module if there is no colon.

    Raises:
        SchemaError: The module or the attribute does not exist; the text says which, and what is near.
    """
    module_name, _, attributes = path.partition(":")
    found: object = _import_module(module_name)
    said = module_name
    for attribute in filter(None, attributes.split(".")):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            kind = "module" if isinstance(found, ModuleType) else "object"
            raise SchemaError(f"The {kind} {said!r} has no attribute {attribute!r}.{_nearest(attribute, dir(found))}") from error
        said = f"{said}{'.' if ':' in said else ':'}{attribute}"
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # the module is there; it imports something that is not
        raise SchemaError(_missing_module(missing)) from error


def _missing_module(missing: str) -> str:
    parent_name, _, last = missing.rpartition(".")
    if not parent_name:
        near = _nearest(missing, (module.name for module in pkgutil.iter_modules()))
        return (
            f"There is no module {missing!r} on sys.path.{near} "
            "If it is in a folder of the project, name that folder in pytest's ini option `pythonpath`, or install the project."
        )
    parent = importlib.import_module(parent_name)
    if not hasattr(parent, "__path__"):
        is_module = f"There is no module {missing!r}: {parent_name!r} is a module and not a package."
        return f"{is_module} For an object in it write {parent_name}:{last}."
    near = _nearest(last, (module.name for module in pkgutil.iter_modules(parent.__path__)))
    return f"The package {parent_name!r} has no module {last!r}.{near}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
