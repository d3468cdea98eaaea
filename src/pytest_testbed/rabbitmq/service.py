"""RabbitMQ as a kind of service: the recipe, the readiness probe, the reading of URLs.

Runs in the host process as well, so it imports no client of AMQP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..services.model import RANDOM, ContainerRecipe, Endpoint, GiveUp, ProcessRecipe, ServiceSpec
from .container import QUICK, start_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["parse_url", "probe", "rabbitmq_spec"]

USER = "testbed"
"""Who logs in at the brokers that we start."""
PORT, TLS_PORT, MANAGEMENT_PORT = 5672, 5671, 15672
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
    if version and image.removesuffix("-management").removeprefix("rabbitmq:").isdigit():
        image = f"rabbitmq:{version}" + ("-management" if image.endswith("-management") else "")
    options = {
        "scheme": "amqp",
        "database": "/",
        "definitions": dict(definitions or {}),
        "url_remedy": "set testbed_rabbitmq_url (or RABBITMQ_URL)",
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
        container=_container(image, plugins, environment, quick=quick, tmpfs=tmpfs),
        process=ProcessRecipe(recipe="pytest_testbed.rabbitmq.local:LocalRabbit", options=local),
        url=with_management(url, management_url) if url and management_url else url,
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


def with_management(url: str, management_url: str) -> str:
    """Return a broker's URL that also says where its management API is."""
    from urllib.parse import quote

    return f"{url}{'&' if '?' in url else '?'}management={quote(management_url, safe='')}"


def parse_url(url: str) -> Endpoint:
    """Return the endpoint that a broker's URL names, its virtual host as `database`.

    Raises:
        ValueError: it is no URL of a broker.
    """
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps", "pyamqp"):
        raise ValueError("it must begin with amqp:// or amqps://")
    path = parts.path
    if path.count("/") > 1:
        raise ValueError(f"the virtual host {path[1:]!r} must be encoded: {path[1:].replace('/', '%2F')}")
    scheme = "amqps" if parts.scheme == "amqps" else "amqp"
    return Endpoint(
        kind="rabbitmq",
        host=parts.hostname or "localhost",
        port=parts.port or (TLS_PORT if scheme == "amqps" else PORT),
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

    is_ours = endpoint.is_ours
    try:
        # a server of our own has its virtual host last of all; one that is named is asked for the one it was named with
        version = try_login(endpoint, endpoint.database, timeout)
    except Refused as error:
        # a node of ours knows its password: who refuses it has taken its port, and the node is about to end for that
        if endpoint.provider == "local" or (is_ours and error.code != 403):
            raise
        raise GiveUp(f"{error}{_remedy(error.code, endpoint)}") from None
    except UnicodeError as error:
        raise GiveUp(f"the host name {endpoint.host!r} cannot be used ({error})") from None
    except OSError as error:
        if not is_ours and _is_unknown(error):
            raise GiveUp(f"the host {endpoint.host} is unknown ({error}) → correct the URL.") from None
        raise OSError(f"{error}{'' if is_ours else ' → start it, or correct the URL.'}") from None
    _check_management(endpoint, timeout)
    return version


def _is_unknown(error: OSError) -> bool:
    import socket

    return isinstance(error, socket.gaierror)


def _remedy(code: int, endpoint: Endpoint) -> str:
    """Return what can be done about a refused login."""
    if endpoint.is_ours:
        return " → look at testbed_rabbitmq_environment." if code == 403 else ""
    if code == 403:
        return " → the user or the password is wrong, or guest comes from another machine; correct the URL."
    if code == 530:
        return f" → there is no virtual host {endpoint.database!r}, or {endpoint.user} may not enter it; correct the URL."
    return " → correct the URL: it must name AMQP's own port (5672), not that of the management."


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
            raise GiveUp(f"{text} → rabbitmqctl set_user_tags {endpoint.user} administrator; or name another user.") from None
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
            f"some of their own → rabbitmqctl set_user_tags {endpoint.user} administrator; or name another user."
        )
