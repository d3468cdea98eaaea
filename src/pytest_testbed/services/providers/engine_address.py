"""Which container engine to use, and at which address a container of it is reached from here."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..model import Refusal, masked

ANSWER_SECONDS = 2.0  # an engine that is well answers in milliseconds; users wait for this one
CALL_SECONDS = 30.0  # for every later call: a removal on a slow disk may take long
LOOK_SECONDS = 5.0  # for a look at a container or its log; an engine may hang, or be gone, at any time

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EngineAddress:
    """Where an engine listens and who said so.

    `certificates` is a directory with ca.pem, cert.pem and key.pem, or "" for no TLS.
    """

    url: str
    source: str
    certificates: str = ""
    verify: bool = False

    @property
    def socket(self) -> str:
        """The path of the engine's Unix socket; "" when it is reached in another way."""
        return self.url.partition("://")[2] if self.url.startswith("unix://") else ""

    @property
    def remote_host(self) -> str:
        """The engine's host; "" when the engine is on this machine."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme not in ("tcp", "http", "https", "ssh"):
            return ""
        local = host in ("", "localhost", "::1", "0.0.0.0") or host.startswith("127.")  # noqa: S104  # nothing is bound
        return "" if local else host

    @property
    def shown(self) -> str:
        """The address as users may see it, without a password."""
        return masked(self.url) if "://" in self.url else self.url

    def environment(self) -> dict[str, str]:
        """Return the variables that lead docker's and testcontainers' clients to this engine."""
        values = {"DOCKER_HOST": self.url}
        if self.certificates:
            values |= {"DOCKER_CERT_PATH": self.certificates, "DOCKER_TLS_VERIFY": "1" if self.verify else ""}
        return values


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that answered; `api` is a `docker.APIClient`."""

    address: EngineAddress
    api: Any


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How a service's port is reached.

    `publish` is the interface to publish it on, "" for not at all; `host` is what clients connect
    to, "" for the container's own address; `network` is the network to join, "" for the default.
    """

    publish: str = ""
    host: str = ""
    network: str = ""


def addresses(environment: Mapping[str, str], platform: str = sys.platform) -> list[EngineAddress] | Refusal:
    """Return the addresses to try, best first; a `Refusal` when a context is named that is not there."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    config = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    if url := environment.get("DOCKER_HOST"):
        certificates = environment.get("DOCKER_CERT_PATH") or (str(config) if verify else "")
        return [EngineAddress(url=url, source="DOCKER_HOST", certificates=certificates, verify=verify)]
    named = environment.get("DOCKER_CONTEXT")
    name, source = (named, "DOCKER_CONTEXT") if named else (_current_context(config), str(config / "config.json"))
    if name and name != "default":
        return _of_context(name, source, config)
    found = _default_urls(environment, home, platform)
    present = [url for url in found if not url.startswith("unix://") or os.path.exists(url[7:])]
    return [EngineAddress(url=url, source="default") for url in present or found[:1]]


def _current_context(config: Path) -> str:
    with suppress(OSError, ValueError, AttributeError):  # docker's command line takes the default then, too
        return str(json.loads((config / "config.json").read_text("utf-8")).get("currentContext") or "")
    return ""


def _of_context(name: str, source: str, config: Path) -> list[EngineAddress] | Refusal:
    key = hashlib.sha256(name.encode()).hexdigest()
    try:
        meta = json.loads((config / "contexts" / "meta" / key / "meta.json").read_text("utf-8"))
        endpoint = meta["Endpoints"]["docker"]
        url, skip = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Refusal(
            f"the docker context {name!r}, named by {source}, is not there or cannot be read",
            "choose another one with `docker context use`, or set DOCKER_HOST",
        )
    tls = config / "contexts" / "tls" / key / "docker"
    certificates = str(tls) if tls.is_dir() else ""  # these tell of TLS; plain contexts say SkipTLSVerify=false, too
    return [EngineAddress(url=url, source=f"docker context {name!r}", certificates=certificates, verify=not skip)]


def _default_urls(environment: Mapping[str, str], home: Path, platform: str) -> list[str]:
    if platform == "win32":
        return ["npipe:////./pipe/docker_engine"]
    own = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    paths = [
        "/var/run/docker.sock",
        f"{own}/docker.sock",
        *(home / tail for tail in (".docker/run/docker.sock", ".docker/desktop/docker.sock")),
        *(home / tail for tail in (".colima/default/docker.sock", ".rd/docker.sock")),
        f"{own}/podman/podman.sock",
        "/run/podman/podman.sock",
        home / ".local/share/containers/podman/machine/podman.sock",
    ]
    return [f"unix://{path}" for path in paths]


def connect(environment: Mapping[str, str] | None = None, seconds: float = ANSWER_SECONDS) -> Engine | Refusal:
    """Return the first engine that answers, or why none does.

    Args:
        environment: the variables to find it by; default: those of this process.
        seconds: the limit for all addresses together. It holds for an engine that hangs, too.
    """
    found = addresses(os.environ if environment is None else environment)
    if isinstance(found, Refusal):
        return found
    refusals: list[Refusal] = []
    deadline = 0.0
    for address in found:
        try:
            if address.socket:  # docker's own try comes after a slow import, and leaves its socket open where it fails
                with socket.socket(socket.AF_UNIX) as knock:
                    knock.settimeout(seconds)
                    knock.connect(address.socket)
            import_module("docker")  # slow, but that is not the engine's fault: no part of its limit
            deadline = deadline or time.monotonic() + seconds
            return _dial(address, max(0.1, deadline - time.monotonic()))
        except ImportError as error:
            return Refusal(f"the docker package cannot be imported ({short(error)})", "pip install -U docker requests")
        except Exception as error:  # the SDK lets those of five libraries through
            refusals.append(explain(address, error))
    return refusals[0]


def _dial(address: EngineAddress, seconds: float) -> Engine:
    def call() -> Engine:
        docker: Any = import_module("docker")  # it has no types
        arguments = docker.utils.kwargs_from_env(environment=address.environment())
        arguments["use_ssh_client"] = address.url.startswith("ssh://")
        # version="auto" would ask from within the constructor, and leave the socket open where that fails.
        first = docker.constants.DEFAULT_DOCKER_API_VERSION
        with closing(docker.APIClient(version=first, timeout=seconds, **arguments)) as api:
            version = api.version(api_version=False)["ApiVersion"]
        return Engine(address=address, api=docker.APIClient(version=version, timeout=CALL_SECONDS, **arguments))

    return within(seconds, call)


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call to an engine returns.

    Raises:
        TimeoutError: it took longer than that; it goes on in its thread.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    # Timeouts of sockets begin anew with each byte and do not hold for ssh: only a thread can be left.
    thread = threading.Thread(target=run, name="testbed-engine", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


def clock_ahead(engine: Engine) -> float:
    """Return by how many seconds the engine's clock is ahead of ours; 0.0 where both are the same, or nothing is known.

    The engines of macOS and Windows run in a machine of their own, whose clock may be off after a sleep.
    """
    if not engine.address.remote_host and sys.platform == "linux":
        return 0.0
    from datetime import datetime

    try:
        before = time.time()
        said = within(LOOK_SECONDS, engine.api.info)["SystemTime"]
        after = time.time()
        # it has nanoseconds, of which Python reads six digits at most
        ahead = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", said)).timestamp() - (before + after) / 2
    except (OSError, LookupError, ValueError, TypeError):
        return 0.0
    return ahead if abs(ahead) > (after - before) / 2 else 0.0  # less cannot be told from the way there


def explain(address: EngineAddress, error: Exception) -> Refusal:
    """Return the refusal that tells a user why no engine answered at an address."""
    at = address.shown if address.source == "default" else f"{address.shown} ({address.source})"
    start = f"start Docker, or {'set' if address.source == 'default' else 'correct'} DOCKER_HOST or the docker context"
    causes = list(_causes(error))
    names = {type(one).__name__ for one in causes}
    text = short(error)
    if any(isinstance(one, ssl.SSLError) for one in causes) or "TLSParameterError" in names or "HTTPS server" in text:
        what = short(next((one for one in causes if isinstance(one, ssl.SSLError)), error))
        return Refusal(f"TLS to the engine at {at} failed ({what})", "check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH")
    if any(isinstance(one, PermissionError) for one in causes):
        return Refusal(
            f"the engine at {at} may not be used by this user (permission denied)",
            "add the user to the group `docker` and log in again, or run a rootless engine",
        )
    if any(isinstance(one, TimeoutError) for one in causes) or names & {"ReadTimeout", "ConnectTimeout"}:
        return Refusal(f"the engine at {at} hangs (no answer within {ANSWER_SECONDS:g} s)", f"restart it; {start}")
    plain = {FileNotFoundError: "no such file", ConnectionRefusedError: "connection refused"}
    plain[socket.gaierror] = "unknown host name"
    why = next((say for kind, say in plain.items() for one in causes if isinstance(one, kind)), text)
    return Refusal(f"no engine answers at {at} ({why})", start)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that it was made from; urllib3 hides them in `args` and `reason`."""
    todo, seen = [error], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        todo.extend(each for each in inner if isinstance(each, BaseException))


def missing(error: Exception) -> bool:
    """Whether an error is the engine's word that it has no such container or image."""
    return getattr(getattr(error, "response", None), "status_code", None) == 404


def remove(api: Any, container: str) -> None:
    """Remove a container with its volumes; harmless when it is gone or someone else removes it."""
    try:
        api.remove_container(container, force=True, v=True)
    except OSError as error:
        if not missing(error) and "already in progress" not in str(error):
            raise


def short(error: BaseException, limit: int = 200) -> str:
    """Return an error's text on one line of at most `limit` characters."""
    text = " ".join(str(getattr(error, "explanation", None) or error).split()) or type(error).__name__
    text = text.removesuffix(".")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def placement(engine: Engine) -> Placement:
    """Return how a container of this engine can be reached from this process."""
    if host := engine.address.remote_host:
        return Placement(publish="0.0.0.0", host=host)  # noqa: S104  # it is not this machine's
    inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    if inside and engine.address.socket and not _in_network_of(engine.api):
        return Placement(network=_own_network(engine.api))
    return Placement(publish="127.0.0.1", host="127.0.0.1")


def _in_network_of(api: Any) -> bool:
    """Whether we share the engine's network: with `--network host`, or with the engine in our own container."""
    try:
        config = api.inspect_network("bridge")["IPAM"]["Config"][0]
        # Engines say the gateway only where it was chosen by hand; else it is the first address.
        gateway = config.get("Gateway") or str(ipaddress.ip_network(config["Subnet"])[1])
        with socket.socket() as probe:
            probe.bind((gateway, 0))  # can only be done with an address of this very machine
    except (OSError, LookupError, ValueError):  # no such network, an IPv6 bridge, not our address
        return False
    return True


def _own_network(api: Any) -> str:
    """Return the network of the container that we are in; "" when the engine does not know it."""
    for name in _own_ids():
        try:
            found = api.inspect_container(name)
            mode = str(found["HostConfig"]["NetworkMode"])
            if mode.startswith("container:"):
                found = api.inspect_container(mode.partition(":")[2])
        except (OSError, LookupError):  # it belongs to another engine
            continue
        networks = [each for each in found["NetworkSettings"]["Networks"] if each not in ("host", "none")]
        if found["State"]["Running"] and networks:
            return str(networks[0])
    return ""


def _own_ids() -> Iterator[str]:
    # A host name is an id only where it looks like one: any other might be a stranger's container name.
    if re.fullmatch("[0-9a-f]{12,64}", socket.gethostname()):
        yield socket.gethostname()
    # mountinfo has /var/lib/docker/containers/<id>/hostname; layers have 64 digits, too, in other folders.
    for path, pattern in (("mountinfo", "containers/([0-9a-f]{64})"), ("cgroup", "([0-9a-f]{64})")):
        try:
            yield from dict.fromkeys(re.findall(pattern, Path("/proc/self", path).read_text("utf-8", "replace")))
        except OSError:
            continue
