"""Services in containers: testcontainers describes and starts them; waiting, sharing and reaping are not its job.

For the host process only: it sets this process's DOCKER_HOST and testcontainers' settings.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from typing import Any

from ...errors import ServiceDied, ServiceNotReady, ServiceUnavailable
from ..model import RANDOM, ContainerRecipe, Context, Endpoint, LogMark, Refusal, ServiceSpec
from .engine_address import (
    CALL_SECONDS,
    LOOK_SECONDS,
    Engine,
    EngineAddress,
    clock_ahead,
    connect,
    missing,
    placement,
    remove,
    short,
    within,
)

LABEL_RUN = "pytest-testbed.run"
STATE_SECONDS = 0.1  # how old an answer of exited() may be; the engine asks every 10 to 20 ms
PROGRESS_SECONDS = 0.2

_settings_lock = threading.Lock()
_ryuk_lock = threading.Lock()


class DockerProvider:
    """Gets services as containers of the engine that DOCKER_HOST, the docker context or a default socket names."""

    name = "docker"

    def __init__(self) -> None:
        self._unpullable: dict[str, Refusal] = {}
        self._environment = dict(os.environ)  # as users set it, before our own DOCKER_HOST is in it
        self._ryuk_tried = False

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Return why no container can serve this spec; None when an engine has its image, pulled if need be."""
        if spec.container is None:
            return Refusal(f"there is no container image for {spec.kind}", "use another provider")
        engine = connect(self._environment)
        if isinstance(engine, Refusal):
            return engine
        try:
            prefix = _set_up_testcontainers(engine.address)
        except (ImportError, ValueError) as error:  # the latter for a bad TC_MAX_TRIES
            return Refusal(f"testcontainers cannot be used ({short(error)})", "pip install -U testcontainers")
        image = prefix + spec.container.image
        with closing(engine.api):
            failed = self._unpullable.get(image) or _ensure_image(engine, image, context)
        if failed is not None:
            self._unpullable[image] = failed
        return failed

    def found(self, spec: ServiceSpec) -> str:
        """Return the image that a container would be made of."""
        return spec.container.image if spec.container is not None else ""

    def start(self, spec: ServiceSpec, context: Context) -> DockerRunning:
        """Start a container and return when its port is known; nothing is left of it when this raises.

        Raises:
            ServiceUnavailable: no engine answers, or the spec has no container.
            ServiceNotReady: the container ended as soon as it was started.
            docker.errors.APIError: the engine refused to make or to start it.
        """
        engine = connect(self._environment)
        if isinstance(engine, Refusal):
            raise ServiceUnavailable(f"{spec.kind}: {engine.reason}; {engine.remedy}.")
        if spec.container is None:
            raise ServiceUnavailable(f"{spec.kind}: there is no container image for it.")
        prefix = _set_up_testcontainers(engine.address)
        self._start_ryuk(engine, prefix, context)
        return DockerRunning(engine, spec, spec.container, context)

    def _start_ryuk(self, engine: Engine, prefix: str, context: Context) -> None:
        """Start testcontainers' reaper where the user asked for it, once; nothing depends on it."""
        with _ryuk_lock:  # the reaper of testcontainers is one for all threads, and has none
            if self._ryuk_tried:
                return
            self._ryuk_tried = True
            from testcontainers.core.config import testcontainers_config as settings

            if not wants_ryuk(self._environment, settings.tc_properties):
                return
            from testcontainers.core.container import Reaper

            failed = _ensure_image(engine, prefix + settings.ryuk_image, context)
            why = failed.reason if failed is not None else ""
            if not why:
                context.progress("starting Ryuk")
                try:
                    Reaper.get_instance()
                except Exception as error:
                    why = short(error)
                    with suppress(Exception):  # what is left of it ends by itself: nobody connects to it
                        Reaper.delete_instance()
            if why:
                context.note(f"Ryuk was asked for and could not be started ({why}); the ledger cleans up")


class EndedAtOnce(ServiceNotReady):
    """A container ended before its address was known; `how` says in which way."""

    def __init__(self, text: str, how: str) -> None:
        super().__init__(text)
        self.how = how


class DockerRunning:
    """One started container; `name` is the container's name."""

    endpoint: Endpoint
    patience: float | None = None

    def __init__(self, engine: Engine, spec: ServiceSpec, recipe: ContainerRecipe, context: Context) -> None:
        self.name = f"testbed-{context.run}-{spec.kind}"
        self._engine, self._spec, self._recipe, self._context = engine, spec, recipe, context
        self._placement = placement(engine)
        self._tmpfs, self._shm_size, self._id = recipe.tmpfs, recipe.shm_size, ""
        self._secret = secrets.token_hex(12)  # one for the life of the service: users of it know its password
        self._owned = self._is_plain = False
        self._state: str | None = None
        self._state_until = 0.0
        self._ports: dict[str, int] = {}
        try:
            host, port = self._launch()
        except EndedAtOnce as error:
            if not recipe.plain_command:
                raise
            host, port = self._launch_plainly(error.how)
        self.endpoint = Endpoint(
            kind=spec.kind,
            host=host,
            port=port,
            user=recipe.user,
            password=self._filled(recipe.password),
            database=str(spec.options.get("database", "")),
            scheme=str(spec.options.get("scheme", "")),
            provider="docker",
            source=recipe.image,
            ports=self._ports,
        )

    def exited(self) -> str | None:
        """Return how the container ended, or None while it runs (or is paused); may be 100 ms old."""
        if time.monotonic() >= self._state_until:
            self._state = self._ending()
            self._state_until = time.monotonic() + STATE_SECONDS
        return self._state

    def mend(self) -> bool:
        """Start it with the plain command where it ended with the quick one; any other would end again."""
        if self._is_plain or not self._recipe.plain_command or self._gone_for_good():
            return False
        end = self.exited()
        self.stop()
        host, port = self._launch_plainly(str(end))
        self.endpoint = self.endpoint.with_(host=host, port=port, ports=self._ports)
        return True

    def _launch_plainly(self, end: str) -> tuple[str, int]:
        self._is_plain = True
        address = self._launch()
        remedy = self._spec.options.get("quick_remedy", "")
        self._context.note(
            f"{self._spec.kind}: {self._recipe.image} did not take the quick start ({end}), and was started plainly"
            + (f"; {remedy}" if remedy else "")
        )
        return address

    def _gone_for_good(self) -> bool:
        """Tell whether the container did not end by itself: somebody has removed it, or the engine is gone."""
        try:
            return not self._id or self._look()["Status"] == "removing"
        except OSError:
            return True

    def sick(self) -> str | None:
        """Return "paused" for a paused container, else None."""
        with suppress(OSError):  # an engine that is out of sight is told of by exited()
            return "paused" if self._id and self._look()["Paused"] else None
        return None

    def logs(self, lines: int = 50, since: LogMark | None = None) -> str:
        """Return the last lines of the container's output; "" when it is gone or keeps no log."""
        try:
            when = {} if since is None else {"since": since.time + clock_ahead(self._engine)}
            text = within(LOOK_SECONDS, lambda: bytes(self._engine.api.logs(self._id, tail=lines, **when)))
            return text.decode("utf-8", "replace")
        except (OSError, ValueError):  # the errors of docker and of requests are OSErrors, all of them
            return ""

    def restart(self) -> bool:
        """Start the server again at the same address; True where its data was kept.

        A paused one is made anew: what its clients had begun when it was paused is nobody's to go on with.

        Raises:
            ServiceDied: it runs again, but at another address.
            ServiceUnavailable: its container is gone, and its name belongs to a container of somebody else.
        """
        self._state_until = 0.0
        want = (self.endpoint.host, self.endpoint.port)
        with suppress(Exception):  # gone or broken: it is made anew
            # without tmpfs its data are still there; but docker may publish it at a new port
            if not self._tmpfs and not self._look()["Paused"]:
                self._engine.api.restart(self._id, timeout=5)
                if self._address() == want and self._ports == self.endpoint.ports:
                    return True
        self.stop()
        got = self._launch(port=self.endpoint.port, more=self.endpoint.ports)
        if got != want:
            raise ServiceDied(f"{self._spec.kind} runs again, but at {got[0]}:{got[1]}, not at {want[0]}:{want[1]}.")
        return False

    def stop(self) -> None:
        """Remove the container and its volumes; harmless when it is gone already.

        Raises:
            TimeoutError: the engine hangs; the container stays in the ledger.
            OSError: the engine is gone, or could not remove it.
        """
        api, made = self._engine.api, self._id
        try:
            if self._owned and made:
                within(LOOK_SECONDS, api.ping)  # a removal may take long on an engine that is well; others are known at once
                within(CALL_SECONDS, lambda: remove(api, made))
                self._gone()
        finally:
            api.close()  # it opens again by itself

    def _gone(self) -> None:
        self._owned, self._state_until = False, 0.0
        self._context.disown("container", self.name)

    def _launch(self, port: int | None = None, more: Mapping[str, int] | None = None) -> tuple[str, int]:
        """Make and start the container, its ports published as given; return the address of its service."""
        published = {
            self._recipe.port: port,
            **{inner: (more or {}).get(name) for name, inner in self._recipe.more_ports.items()},
        }
        api, run, taken = self._engine.api, self._context.run, False
        self._context.own("container", self.name)
        self._owned = True
        try:
            try:
                self._create(published)
            except Exception as error:
                taken = "already in use by" in str(error)  # then the one of this name is not what we made
                if taken:
                    raise ServiceUnavailable(
                        f"{self._spec.kind}: the container name {self.name} is already in use by a container that is not "
                        f"what was started here; it is let be ({short(error)})."
                    ) from error
                if not (self._tmpfs or self._shm_size) or not any(word in str(error).lower() for word in ("tmpfs", "shm")):
                    raise
                for tell in (self._context.progress, self._context.note):
                    tell(f"{self._spec.kind} goes without tmpfs and shm size: the engine refused ({short(error, 80)})")
                _remove_owned(api, self.name, run)
                self._tmpfs, self._shm_size = {}, None
                self._create(published)
            return self._address()
        except BaseException:
            with suppress(Exception):  # what cannot be removed stays in the ledger
                if not taken:  # by its name, as its id may never have reached us
                    _remove_owned(api, self.name, run)
                self._gone()
            raise

    def _create(self, published: Mapping[int, int | None]) -> None:
        from testcontainers.core.container import DockerContainer

        recipe, place, self._id = self._recipe, self._placement, ""
        client = {"use_ssh_client": True} if self._engine.address.url.startswith("ssh://") else {}
        environment = {name: self._filled(value) for name, value in recipe.environment.items()}
        container = DockerContainer(recipe.image, docker_client_kw=client, env=environment, name=self.name)
        if command := recipe.plain_command if self._is_plain else recipe.command:
            container.with_command([self._filled(part) for part in command])
        if place.publish:
            # with_bind_ports() knows no interface
            ports: dict[str, Any] = {f"{inner}/tcp": (place.publish, port) for inner, port in published.items()}
            container.ports = ports
        kwargs: dict[str, Any] = {"labels": {LABEL_RUN: self._context.run, "pytest-testbed.kind": self._spec.kind}}
        if self._tmpfs:
            mounts = {path: f"size={size}" if size else "" for path, size in self._tmpfs.items()}
            # 4.15 passes on a `tmpfs` of its own, which ours would collide with; 4.13 has none.
            (container.tmpfs if hasattr(container, "tmpfs") else kwargs.setdefault("tmpfs", {})).update(mounts)
        if self._shm_size:
            kwargs["shm_size"] = self._shm_size
        if place.network:
            kwargs["network"] = place.network
        try:
            container.with_kwargs(**kwargs).start()
            self._id = str(container.get_wrapped_container().id)
        finally:
            container.get_docker_client().client.close()

    def _filled(self, text: str) -> str:
        return text.replace(RANDOM, self._secret)

    def _look(self) -> Mapping[str, Any]:
        state: Mapping[str, Any] = within(LOOK_SECONDS, lambda: self._engine.api.inspect_container(self._id))["State"]
        return state

    def _address(self) -> tuple[str, int]:
        settings, recipe = self._engine.api.inspect_container(self._id)["NetworkSettings"], self._recipe
        if self._placement.publish:
            bound = {port: int(each[0]["HostPort"]) for port, each in (settings.get("Ports") or {}).items() if each}
            if port := bound.get(f"{recipe.port}/tcp"):
                self._ports = {name: bound[f"{inner}/tcp"] for name, inner in recipe.more_ports.items()}
                return self._placement.host, port
        elif inner := [each["IPAddress"] for each in settings["Networks"].values() if each.get("IPAddress")]:
            self._ports = dict(recipe.more_ports)
            return str(inner[0]), recipe.port
        how = self._ending() or "it has no address"  # one that has ended has neither ports nor addresses
        what = f"{self._spec.kind}: the container of {self._recipe.image} ended at once ({how})"
        raise EndedAtOnce(f"{what}; the last lines that it wrote:\n{self.logs()}", how)

    def _ending(self) -> str | None:
        try:
            state = self._look() if self._id else None
        except OSError as error:
            return "removed" if missing(error) else f"out of sight: the engine does not answer ({short(error, 80)})"
        if state is None or state["Status"] == "removing":
            return "removed"
        if state["Status"] not in ("exited", "dead", "stopped"):  # the last is podman's word
            return None
        code, memory = int(state["ExitCode"]), " (out of memory)" if state.get("OOMKilled") else ""
        return f"killed by signal {code - 128}{memory}" if 128 < code < 193 else f"exit code {code}{memory}"


def remove_container(name: str, run: str) -> bool:
    """Remove a container that a run left behind; a container of that name that is not the run's is let be.

    Args:
        name: the container's name, as it was given to `Context.own`.
        run: the run that must stand in its label.

    Returns:
        True when it was removed, False when there is none of that name and run.

    Raises:
        ServiceUnavailable: no engine answers, so that nothing is known about it.
        docker.errors.APIError: the engine could not remove it.
    """
    engine = connect()
    if isinstance(engine, Refusal):
        raise ServiceUnavailable(f"{name} cannot be removed: {engine.reason}; {engine.remedy}.")
    with closing(engine.api):
        return _remove_owned(engine.api, name, run)


def _remove_owned(api: Any, name: str, run: str) -> bool:
    try:
        found = api.inspect_container(name)
    except OSError as error:
        if missing(error):
            return False
        raise
    labels = found["Config"].get("Labels") or {}
    # The engine takes the first digits of an id for a name, too.
    ours = found["Name"].lstrip("/") == name and labels.get(LABEL_RUN) == run
    if ours:
        remove(api, found["Id"])
    return ours


def _set_up_testcontainers(address: EngineAddress) -> str:
    """Lead testcontainers to the engine that answered us, and quiet it; return its prefix for image names."""
    with _settings_lock, warnings.catch_warnings():
        for variable in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            os.environ.pop(variable, None)
        os.environ.update(address.environment())
        warnings.simplefilter("ignore")  # it has deprecated itself in places, and some suites forbid warnings
        import testcontainers.core.container  # noqa: F401  (up to 4.14 it warns when it is first loaded)
        from testcontainers.core.config import testcontainers_config

        testcontainers_config.ryuk_disabled = True  # where it is wanted we start it ourselves; see _start_ryuk()
        testcontainers_config.tc_properties.pop("tc.host", None)  # it would win over DOCKER_HOST
        logging.getLogger("testcontainers").setLevel(logging.ERROR)
        return str(getattr(testcontainers_config, "hub_image_name_prefix", ""))  # 4.13 has none


def wants_ryuk(environment: Mapping[str, str], properties: Mapping[str, str]) -> bool:
    """Whether a user said that testcontainers' reaper is not to be disabled; silence is no such word.

    Args:
        environment: the variables as the user has them.
        properties: what ~/.testcontainers.properties says.
    """
    said = environment.get("TESTCONTAINERS_RYUK_DISABLED", properties.get("ryuk.disabled", ""))
    return said.strip().lower() in ("false", "0", "no", "f", "n")


def _ensure_image(engine: Engine, image: str, context: Context) -> Refusal | None:
    try:
        engine.api.inspect_image(image)
        return None
    except OSError as error:
        if not missing(error):
            return Refusal(f"the engine cannot look up the image {image} ({short(error)})", "correct the image option")
    if context.only_looks:
        return _outlook(engine, image, context)
    from testcontainers.core.docker_client import DockerClient

    try:
        context.progress(f"pulling {image} …")
        with closing(DockerClient().client.api) as api:  # not our own: this one has logged in by DOCKER_AUTH_CONFIG
            _show_pull(api.pull(image, stream=True, decode=True), image, context)
        engine.api.inspect_image(image)
        return None
    except Exception as error:
        return _unobtainable(image, f"cannot be pulled ({short(error)})")


def _unobtainable(image: str, why: str) -> Refusal:
    remedy = f"docker pull {image}; or set the image option to one that is there; or testbed_provider = local"
    return Refusal(f"the image {image} is not there and {why}", remedy)


def _outlook(engine: Engine, image: str, context: Context) -> Refusal | None:
    """Return why an image could not be pulled, by what its registry tells the engine of it; nothing is pulled."""
    from testcontainers.core.docker_client import DockerClient

    def ask() -> None:
        with closing(DockerClient().client.api) as api:  # the one that would pull it, with the same login
            api.inspect_distribution(image)

    try:
        within(LOOK_SECONDS / 2, ask)
    except TimeoutError:
        return _unobtainable(image, f"its registry does not answer within {LOOK_SECONDS / 2:g} s (a run waits for it longer)")
    except Exception as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        if code not in (404, 405, 501) or image.partition(":")[0] in str(error):  # not every engine can ask
            return _unobtainable(image, f"cannot be pulled ({short(error)})")
        context.note(f"{image} is not there; a run tries to pull it")
        return None
    context.note(f"{image} is not there; a run pulls it first")
    return None


def _show_pull(events: Iterable[Mapping[str, Any]], image: str, context: Context) -> None:
    layers: dict[str, tuple[int, int]] = {}
    shown, percent = time.monotonic(), 0
    for event in events:
        if error := event.get("error"):
            raise ServiceUnavailable(str(error))
        detail, layer = event.get("progressDetail") or {}, str(event.get("id"))
        if event.get("status") == "Downloading" and detail.get("total"):
            layers[layer] = (int(detail["current"]), int(detail["total"]))
        elif event.get("status") == "Download complete" and layer in layers:
            layers[layer] = (layers[layer][1], layers[layer][1])
        if layers and time.monotonic() - shown >= PROGRESS_SECONDS:
            done, total = (sum(column) for column in zip(*layers.values(), strict=True))
            percent = max(percent, 100 * done // total)  # totals come one by one: never count down
            context.progress(f"pulling {image} … {percent} %")
            shown = time.monotonic()
