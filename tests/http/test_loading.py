"""An application by its import path, and what it is by its signature."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed.errors import AppError, ConfigurationError
from pytest_testbed.http.loading import interface_of, load


def plain_wsgi(environ: Any, start_response: Any) -> Any: ...


def unusual_wsgi(request: Any, begin: Any) -> Any: ...


async def plain_asgi(scope: Any, receive: Any, send: Any) -> None: ...


def sync_asgi(scope: Any, receive: Any, send: Any) -> Any:
    return plain_asgi(scope, receive, send)


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


class AsgiClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...


def with_settings(settings: Any, environ: Any, start_response: Any) -> Any: ...


async def asgi_with_settings(settings: Any, scope: Any, receive: Any, send: Any) -> None: ...


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any, **more: Any) -> Any:
        return function(*args, **more)

    return inner


def vaguely(function: Any) -> Any:
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


WSGI = [
    plain_wsgi,
    unusual_wsgi,
    WsgiObject(),
    WsgiObject().__call__,
    WsgiClass,
    decorated(plain_wsgi),
    functools.partial(with_settings, {}),
    functools.partial(with_settings, settings={}),
]
ASGI = [
    plain_asgi,
    sync_asgi,
    AsgiObject(),
    AsgiObject().__call__,
    AsgiClass,
    decorated(plain_asgi),
    functools.partial(asgi_with_settings, {}),
    functools.partial(AsgiObject()),
]


@pytest.mark.parametrize("app", WSGI[:-1])
def test_wsgi(app: Any) -> None:
    assert interface_of(app, "shop:app") == "wsgi"


@pytest.mark.parametrize("app", ASGI)
def test_asgi(app: Any) -> None:
    assert interface_of(app, "shop:app") == "asgi"


def test_frameworks() -> None:
    fastapi, flask = pytest.importorskip("fastapi"), pytest.importorskip("flask")
    starlette = pytest.importorskip("starlette.applications")
    from django.core.asgi import ASGIHandler
    from django.core.wsgi import WSGIHandler

    assert [interface_of(each, "shop:app") for each in (fastapi.FastAPI(), starlette.Starlette())] == ["asgi", "asgi"]
    assert interface_of(flask.Flask("shop"), "shop:app") == "wsgi"
    assert interface_of(WSGIHandler.__new__(WSGIHandler), "shop:app") == "wsgi"
    assert interface_of(ASGIHandler.__new__(ASGIHandler), "shop:app") == "asgi"


def test_what_cannot_be_told() -> None:
    with pytest.raises(ConfigurationError, match="testbed_app_interface: wsgi or asgi"):
        interface_of(vaguely(plain_asgi), "shop:app")


def test_a_factory_that_is_not_called() -> None:
    def create_app(settings: Any = None) -> Any: ...

    with pytest.raises(ConfigurationError, match=r"If it makes the application, write shop:create_app\(\)\."):
        interface_of(create_app, "shop:create_app")


def test_what_is_no_application() -> None:
    with pytest.raises(ConfigurationError, match="which is no application: it cannot be called"):
        interface_of({}, "shop:app")


# --- by its path

SHOP = """
class web:
    app = "the application"

def create_app():
    return "made"

def create_broken():
    raise RuntimeError("no settings")
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "live_shop.py").write_text(SHOP)
    (tmp_path / "live_broken.py").write_text("def f():\n    1 / 0\n\nf()\n")
    (tmp_path / "live_exits.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "live_wants.py").write_text("import not_there_at_all\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("live_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("modules")
def test_a_path() -> None:
    assert load("live_shop:web.app", "testbed_app") == "the application"
    assert load("live_shop:create_app()", "testbed_app") == "made"


@pytest.mark.usefixtures("modules")
def test_what_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"testbed_app \(from x\) names 'create_ap' in live_shop, .*'create_app'\?"):
        load("live_shop:create_ap", "testbed_app (from x)")
    with pytest.raises(ConfigurationError, match="there is no live_sho on sys.path.*pythonpath"):
        load("live_sho:app", "testbed_app (from x)")


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("live_broken:app", "ZeroDivisionError: division by zero"),
        ("live_shop:create_broken()", "RuntimeError: no settings"),
        ("live_exits:app", "SystemExit: 3"),
        ("live_wants:app", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_what_crashes(path: str, last: str) -> None:
    with pytest.raises(AppError) as failed:
        load(path, "testbed_app (from x)")

    lines = str(failed.value).splitlines()
    assert lines[-1] == last
    assert lines[1] == "Traceback (most recent call last):"
    assert path.partition(":")[0] in lines[2], "nothing of ours comes first"
