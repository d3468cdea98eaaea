"""RabbitMQ as a kind of service: the recipe, the readiness probe, the reading of URLs.

Runs in the host process as well, so it imports no client of AMQP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..services.model import RANDOM, ContainerRecipe, Endpoint, GiveUp, ProcessRecipe, ServiceSpec
from .container import QUICK, start_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .frames import Refused

__all__ = ["parse_url", "probe", "rabbitmq_spec"]

USER = "testbed"
"""Who logs in at the brokers that we start."""
PORT, TLS_PORT, MANAGEMENT_PORT = 5672, 5671, 15672
FORBIDDEN, NOT_ALLOWED = 403, 530
"""AMQP's codes for a wrong login, and for a virtual host that is not there or may not be entered."""
NOT_MANAGEMENT = f"it must name AMQP's own port ({PORT}), not that of the management"
LOG_LEVELS = "warning,connection=info,channel=info,queue=info"
"""What a broker of ours writes: on each virtual host that comes or goes it has twenty lines, which no test wants."""
_DATA = "/var/lib/rabbitmq"


def rabbitmq_spec(
    *,
    image: str = "rabbitmq:4",
    version: str | None = None,
    provider: str = "auto",
    url: str | None = None,
    url_source: str = "",
    management_url: str | None = None,
    home: str = "",
    plugins: Sequence[str] = (),
    environment: Sequence[str] = (),
    definitions: Mapping[str, Any] | None = None,
    quick: bool = True,
    tmpfs: str = "512m",
    timeout: float = 90.0,
) -> ServiceSpec:
    """Return the recipe of a RabbitMQ broker.

    Args:
        image: for the docker provider, with or without `-management`.
        version: the version that the broker must have, "4" or "3.13"; None for any.
        provider: "auto", "external", "docker" or "local".
        url: a broker that is there already, amqp:// or amqps://.
        url_source: where the URL came from, for errors.
        management_url: where that broker's management API is; None: port 15672 of its host.
        home: directory of the server (with `sbin` and `plugins`) for the local provider; "" to look for it.
        plugins: plugins that are enabled besides the management API.
        environment: more variables of the container, as `NAME=value`.
        definitions: what every virtual host has from its beginning; see `topology.checked`.
        quick: whether the broker boots without the plugins that are not needed, where that is known to work.
        tmpfs: cap of the container's memory file system for data, "" for none.
        timeout: seconds that a start may take.
    """
    if version and (plain := re.fullmatch(r"rabbitmq:\d+(-management)?", image)):
        image = f"rabbitmq:{version}{plain[1] or ''}"
    container = _container(image, plugins, environment, quick=quick, tmpfs=tmpfs)
    options = {
        "scheme": "amqp",
        # where a container's user may enter; a node of our own has "/"
        "database": container.environment.get("RABBITMQ_DEFAULT_VHOST", "/"),
        "definitions": dict(definitions or {}),
        "extra": {"management": management_url} if management_url else {},
        "url_remedy": "set testbed_rabbitmq_url (or RABBITMQ_URL)",
        "quick_remedy": "testbed_rabbitmq_quick_boot = false spares it the attempt",
    }
    local = {"home": home, "plugins": list(plugins), "quick": quick, "user": USER}
    return ServiceSpec(
        kind="rabbitmq",
        probe="pytest_testbed.rabbitmq.service:probe",
        fixtures=("pytest_testbed.plugins.rabbitmq:rabbitmq_service", "pytest_testbed.plugins.rabbitmq:_rabbitmq_test"),
        imports=("pytest_testbed.rabbitmq.broker",),
        provider=provider,
        version=version,
        timeout=timeout,
        container=container,
        process=ProcessRecipe(recipe="pytest_testbed.rabbitmq.local:LocalRabbit", options=local),
        url=url,
        url_source=url_source,
        url_parser="pytest_testbed.rabbitmq.service:parse_url",
        visit="pytest_testbed.rabbitmq.visit:RabbitVisit",
        drop="pytest_testbed.rabbitmq.vhosts:drop_vhosts",
        stock="pytest_testbed.rabbitmq.vhosts:VhostStock",
        options=options,
    )


def _container(image: str, plugins: Sequence[str], environment: Sequence[str], *, quick: bool, tmpfs: str) -> ContainerRecipe:
    variables = {
        "RABBITMQ_DEFAULT_USER": USER,
        "RABBITMQ_DEFAULT_PASS": RANDOM,
        "RABBITMQ_LOG": LOG_LEVELS,
        **dict(line.split("=", 1) for line in environment),
    }
    plain = start_command(plugins)
    return ContainerRecipe(
        image=image,
        port=PORT,
        more_ports={"management": MANAGEMENT_PORT},
        command=start_command(plugins, QUICK) if quick else plain,
        plain_command=plain if quick else (),
        environment=variables,
        tmpfs={_DATA: tmpfs} if tmpfs else {},
        user=variables["RABBITMQ_DEFAULT_USER"],
        password=variables["RABBITMQ_DEFAULT_PASS"],
    )


def parse_url(url: str) -> Endpoint:
    """Return the endpoint that a broker's URL names, its virtual host as `database`.

    Raises:
        ValueError: it is no URL of a broker.
    """
    from urllib.parse import unquote, urlsplit

    form = "it must be like amqp://user:password@host:port/vhost; in a password, @ : / ? # [ ] must be encoded"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # whose own words may show a part of the password
        raise ValueError(form) from None
    if parts.fragment:
        raise ValueError(form)
    if parts.scheme not in ("amqp", "amqps", "pyamqp"):
        raise ValueError("it must begin with amqp:// or amqps://")
    path = "" if parts.path == "//" else parts.path  # as Celery's own URLs have it
    if path.count("/") > 1:
        raise ValueError(f"the virtual host {path[1:]!r} must be encoded: {path[1:].replace('/', '%2F')}")
    scheme = "amqps" if parts.scheme == "amqps" else "amqp"
    return Endpoint(
        kind="rabbitmq",
        host=parts.hostname or "localhost",
        port=port or (TLS_PORT if scheme == "amqps" else PORT),
        user=unquote(parts.username) if parts.username is not None else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        # as everybody's clients do: no path, or an empty one, is the default virtual host
        database=unquote(path[1:]) or "/",
        scheme=scheme,
        query=parts.query,
    )


def probe(endpoint: Endpoint, timeout: float) -> str:
    """Log in by AMQP and at the management API; return the broker's version.

    Raises:
        GiveUp: waiting cannot help: wrong credentials, no such virtual host, no management API, no administrator.
        Exception: the broker is not ready.
    """
    from .frames import Refused
    from .login import try_login

    try:
        # a server of our own has its virtual host last of all; one that is named is asked for the one it was named with
        version = try_login(endpoint, endpoint.database, timeout)
    except Refused as error:
        # a node of this machine knows its password: who refuses it has taken its port, and the node is about to end for that
        if endpoint.provider == "local" or (endpoint.is_ours and error.code != FORBIDDEN):
            raise
        raise GiveUp(f"{error}{_remedy(error, endpoint)}") from None
    except UnicodeError as error:
        raise GiveUp(f"the host name {endpoint.host!r} cannot be used ({error}) → correct the URL.") from None
    except OSError as error:
        if endpoint.is_ours:
            raise
        raise _unreached(error, endpoint) from None
    _check_management(endpoint, timeout)
    return version


def _unreached(error: OSError, endpoint: Endpoint) -> Exception:
    """Return what is to be said of a named broker that was not reached; `GiveUp` where waiting cannot help."""
    import socket

    if isinstance(error, socket.gaierror):
        return GiveUp(f"the host {endpoint.host} is unknown ({error}) → correct the URL.")
    reason = getattr(error, "reason", "")  # of an ssl.SSLError
    if reason == "WRONG_VERSION_NUMBER":
        return GiveUp(f"no TLS is spoken there ({error}) → say amqp:// in the URL, or name the port for TLS ({TLS_PORT}).")
    if reason == "CERTIFICATE_VERIFY_FAILED":
        return GiveUp(f"{error} → let this machine trust who has signed it: SSL_CERT_FILE names a file of such certificates.")
    if isinstance(error, TimeoutError | ConnectionResetError) and not error.errno:
        return OSError(f"{error} → is it still starting? Else correct the URL: {NOT_MANAGEMENT}.")
    return OSError(f"{error} → start it, or correct the URL.")


def _remedy(error: Refused, endpoint: Endpoint) -> str:
    """Return what can be done about a refused login."""
    if endpoint.is_ours:
        return " → look at testbed_rabbitmq_environment."
    if error.code == FORBIDDEN:
        return " → the user or the password is wrong, or guest comes from another machine; correct the URL."
    if error.code == NOT_ALLOWED:
        return f" → there is no virtual host {endpoint.database!r}, or {endpoint.user} may not enter it; correct the URL."
    if "TLS" in error.text:
        return f" → say amqps:// in the URL, or name the port without TLS ({PORT})."
    return f" → correct the URL: {NOT_MANAGEMENT}."


ADMINISTRATOR = "administrator"


def _check_management(endpoint: Endpoint, timeout: float) -> None:
    """Find out whether virtual hosts can be made by the management API."""
    from .api import ApiError, ManagementApi

    api = ManagementApi(endpoint, timeout)
    try:
        me = api.get("whoami")
    except ApiError as error:
        if endpoint.is_ours:
            raise
        text = f"tests need virtual hosts of their own, and AMQP alone can neither list nor create them: {error}"
        if error.status in (401, 403):
            raise GiveUp(
                f"{text} → {_tag(endpoint.user)}; or, if it is another broker's, say where its own is: "
                "testbed_rabbitmq_management_url."
            ) from None
        # it may be about to start
        raise ApiError(
            f"{text} → rabbitmq-plugins enable rabbitmq_management; or say where it is: testbed_rabbitmq_management_url."
        ) from None
    finally:
        api.close()
    tags = me.get("tags", ())
    tags = tags.split(",") if isinstance(tags, str) else tags  # a text up to 3.8
    if ADMINISTRATOR not in tags:
        raise GiveUp(
            f"the user {endpoint.user!r} may not create virtual hosts (its tags: {', '.join(tags) or 'none'}), and tests need "
            f"some of their own → {_tag(endpoint.user)}."
        )


def _tag(user: str) -> str:
    """Return what makes a user one that can be named."""
    from shlex import quote

    return f"rabbitmqctl set_user_tags {quote(user)} {ADMINISTRATOR}, or name another user"
