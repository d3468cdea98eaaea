"""The application under test by its import path, and what it is: WSGI or ASGI."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import traceback
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Literal

from ..errors import AppError, ConfigurationError

__all__ = ["Interface", "interface_of", "load", "told"]

Interface = Literal["wsgi", "asgi"]
OURS = os.path.dirname(__file__)


def load(path: str, said: str) -> Any:
    """Import an application, and call its factory where the path ends with ().

    Args:
        path: module:name, or module:name().
        said: where the path stands, such as "testbed_app (from pytest.ini)".

    Raises:
        AppError: its code raised an error, or ended the process; has the traceback.
        ConfigurationError: there is no such module, or nothing of that name in it.
    """
    module_name, _, name = path.removesuffix("()").partition(":")
    try:
        found: Any = _module(module_name, said)
        for part in name.split("."):
            found = _attribute(found, part, said)
        if path.endswith("()"):
            found = found()
    except (ConfigurationError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AppError(f"{said} names {path}, which cannot be loaded:\n{told(error)}") from error
    return found


def _module(name: str, said: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module is there; it imports something that is not
        raise ConfigurationError(
            f"{said} names the module {name}, and there is no {error.name} on sys.path. If it is in a folder of the project, "
            "name that folder in pytest's option pythonpath, or install the project."
        ) from None


def _attribute(owner: Any, name: str, said: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        near = get_close_matches(name, dir(owner), 1)
        where = owner.__name__ if isinstance(owner, ModuleType) else repr(owner)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigurationError(f"{said} names {name!r} in {where}, which has nothing of that name{hint}") from None


def told(error: BaseException) -> str:
    """Return an error with its traceback, without the steps in files of ours and of importlib."""
    step = error.__traceback__
    while step is not None and _is_passed_over(step.tb_frame.f_code.co_filename):
        step = step.tb_next
    return "".join(traceback.format_exception(type(error), error, step)).rstrip()


def _is_passed_over(file: str) -> bool:
    return file.startswith((OURS, "<frozen importlib")) or file == importlib.__file__


# --- what it is


def interface_of(app: Any, path: str) -> Interface:
    """Tell what an application is, by its signature: (environ, start_response) or (scope, receive, send).

    Raises:
        ConfigurationError: it cannot be told.
    """
    if not callable(app):
        raise ConfigurationError(f"testbed_app = {path} is {_shown(app)}, which is no application: it cannot be called.")
    if _is_coroutine(app):
        return "asgi"
    names, needed = _arguments(app)
    if names[:1] == ["environ"] or names[1:2] == ["start_response"]:
        return "wsgi"
    if names[:1] == ["scope"] or names[1:3] == ["receive", "send"]:
        return "asgi"
    if needed == len(names) in (2, 3):
        return "wsgi" if needed == 2 else "asgi"
    factory = f" If it makes the application, write {path}()." if not needed and not path.endswith("()") else ""
    raise ConfigurationError(
        f"testbed_app = {path} is {_shown(app)}, and whether that is WSGI or ASGI cannot be told by its signature. Say it in "
        f"testbed_app_interface: wsgi or asgi.{factory}"
    )


def _is_coroutine(app: Any) -> bool:
    while isinstance(app, functools.partial):
        app = app.func
    return inspect.iscoroutinefunction(app) or (not inspect.isclass(app) and inspect.iscoroutinefunction(app.__call__))


def _arguments(app: Any) -> tuple[list[str], int]:
    """Return the names of what can be given by position, and how many of them must be."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):  # one of C
        return [], 0
    by_place = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return [each.name.strip("_") for each in by_place], sum(each.default is each.empty for each in by_place)


def _shown(app: Any) -> str:
    name = getattr(app, "__qualname__", None)
    return f"the {type(app).__name__} {name}" if name else f"an object of {type(app).__module__}.{type(app).__qualname__}"
