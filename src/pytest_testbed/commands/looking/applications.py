"""The web application of a project, and how its addresses of other things are used."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from .source import Function, Source
from .tree import Place

__all__ = ["Application", "applications"]

MAKERS = {
    "flask.Flask": "Flask",
    "flask.app.Flask": "Flask",
    "apiflask.APIFlask": "Flask",
    "connexion.FlaskApp": "Flask",
    "fastapi.FastAPI": "FastAPI",
    "fastapi.applications.FastAPI": "FastAPI",
    "starlette.applications.Starlette": "Starlette",
    "litestar.Litestar": "Litestar",
    "quart.Quart": "Quart",
    "falcon.App": "Falcon",
    "falcon.asgi.App": "Falcon (ASGI)",
    "django.core.wsgi.get_wsgi_application": "Django",
    "django.core.asgi.get_asgi_application": "Django (ASGI)",
}
USUAL = ("create_app()", "make_app()", "get_app()", "app", "application", "api")


@dataclass(frozen=True)
class Application:
    """An application object, or what makes one.

    Attributes:
        entry: what `testbed_app` says.
        kind: the framework.
        place: where it is made.
        needs: parameters without which the factory cannot be called.
    """

    entry: str
    kind: str
    place: Place
    needs: tuple[str, ...] = ()

    @property
    def is_asgi(self) -> bool:
        """Whether it needs a server of ASGI."""
        return self.kind in ("FastAPI", "Starlette", "Litestar", "Quart", "Falcon (ASGI)", "Django (ASGI)")


def applications(sources: Mapping[str, Source]) -> list[Application]:
    """Return the applications, the likeliest first; what a factory makes comes before what somebody made with it."""
    found: list[Application] = []
    factories: dict[str, str] = {}
    own = [source for source in sources.values() if source.is_own]
    frameworks = {name.partition(".")[0] for name in MAKERS}
    for source in own:
        if not frameworks & {name.partition(".")[0] for name in source.imported.values()}:
            continue
        for node in source.functions:
            if kind := _makes(source, node):
                factories[f"{source.module}.{node.name}"] = kind
                found.append(Application(f"{source.module}:{node.name}()", kind, source.at(node), _needed(node)))
    for source in own:
        for name, value, statement in source.assigned:
            if isinstance(value, ast.Call):
                maker = source.full(value.func)
                if kind := MAKERS.get(maker) or factories.get(maker, ""):
                    found.append(Application(f"{source.module}:{name}", kind, source.at(statement)))
    return sorted(found, key=_rank)


def _rank(each: Application) -> tuple[object, ...]:
    module, _, name = each.entry.partition(":")
    usual = USUAL.index(name) if name in USUAL else len(USUAL)
    return (
        bool(each.needs),
        "()" not in name,
        usual,
        each.kind.endswith("(ASGI)") and "Django" in each.kind,
        module.count("."),
        each.entry,
    )


def _makes(source: Source, node: Function) -> str:
    """Return the framework of whose application a function makes one and returns it, "" for none."""
    if isinstance(node, ast.AsyncFunctionDef) or node.decorator_list:
        return ""
    made: dict[str, str] = {}
    for each in ast.walk(node):
        if isinstance(each, ast.Assign | ast.AnnAssign) and isinstance(each.value, ast.Call):
            target = each.targets[0] if isinstance(each, ast.Assign) else each.target
            if isinstance(target, ast.Name) and (kind := MAKERS.get(source.full(each.value.func))):
                made[target.id] = kind
    for each in ast.walk(node):
        if isinstance(each, ast.Return):
            if isinstance(each.value, ast.Name) and each.value.id in made:
                return made[each.value.id]
            if isinstance(each.value, ast.Call) and (kind := MAKERS.get(source.full(each.value.func))):
                return kind
    return ""


def _needed(node: Function) -> tuple[str, ...]:
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    needed = [each.arg for each in plain[: len(plain) - len(arguments.defaults)]]
    needed += [each.arg for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return tuple(needed)
