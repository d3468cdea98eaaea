"""A private node of this machine's RabbitMQ server: found, laid out in the run's own directory, started.

Nothing of the machine's own broker is used or touched: node name, cookie, home, data, log, settings, plugins, ports
are the run's. No epmd is started or asked either, Erlang's register of nodes: this node needs nobody to find it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import ServiceNotReady
from ..services.model import Context, Endpoint, Refusal, ServiceSpec
from ..services.providers.local import Launch, User, free_port, hand_over, open_to_all, unprivileged_user
from .container import TRIED
from .installation import Installation, find_erlang, find_installation, needed
from .service import LOG_LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LocalRabbit"]

PORT_TRIES = 3
OLDEST = (3, 9)
"""From this version on a broker needs an Erlang that can do without epmd (23.1)."""
KEPT = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What a node sees of the caller's variables: it would heed many more, as `LOGS` and `PLUGINS_DIR`."""
NO_PORT = "0"
LISTENERS = {
    # plugin → how it is told where to listen
    "rabbitmq_mqtt": '{tcp_listeners, [{"127.0.0.1", PORT}]}',
    "rabbitmq_stomp": '{tcp_listeners, [{"127.0.0.1", PORT}]}',
    "rabbitmq_stream": '{tcp_listeners, [{"127.0.0.1", PORT}]}',
    "rabbitmq_web_mqtt": '{tcp_config, [{ip, "127.0.0.1"}, {port, PORT}]}',
    "rabbitmq_web_stomp": '{tcp_config, [{ip, "127.0.0.1"}, {port, PORT}]}',
    "rabbitmq_prometheus": '{tcp_config, [{ip, "127.0.0.1"}, {port, PORT}]}',
}
"""Plugins that would listen on all addresses, on ports that another broker may have."""


class LocalRabbit:
    """The local provider's recipe for RabbitMQ.

    Args:
        options: "home" (directory or ""), "plugins" (enabled besides the management API), "quick" (whether to
            leave out those that are not needed), "user" (who logs in).
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._home: str = options.get("home", "")
        self._plugins: Sequence[str] = ["rabbitmq_management", *options.get("plugins", ())]
        self._is_quick: bool = options.get("quick", True)
        self._login: str = options.get("user", "testbed")
        self._user = unprivileged_user()
        self._found: Installation | None = None
        self._erlang = Path()

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Refuse where no server, none of the wanted version or with the wanted plugins, or no Erlang is on this machine."""
        found, looked = find_installation(self._home, spec.version, os.environ)
        if found is None:
            wanted = f"rabbitmq-server {spec.version}" if spec.version else "rabbitmq-server"
            return Refusal(f"no {wanted}; looked at: {', '.join(looked)}", self._remedy(spec))
        if tuple(map(int, found.version.split(".")[:2])) < OLDEST:
            return Refusal(
                f"{found.home} is RabbitMQ {found.version}, and 3.9 is the oldest that is run here", self._remedy(spec)
            )
        erlang, why = find_erlang(os.environ)
        if erlang is None:
            return Refusal(
                f"{found.home} needs Erlang, and {why}",
                "install Erlang, or add the bin directory of one that runs to the front of PATH",
            )
        for needed_one in (found.home / "sbin" / "rabbitmq-server", erlang / "erl"):
            if self._user is not None and not open_to_all(needed_one):
                return Refusal(
                    f"{needed_one} can be read by root alone, and a broker of ours does not run as root",
                    "let others read it and pass the directories above (chmod a+rX), or run pytest as another user",
                )
        self._found, self._erlang = found, erlang
        return self._without_plugin(found)

    @property
    def found(self) -> str:
        """What was found when it was last asked for a refusal and gave none."""
        return self._found.source if self._found is not None else ""

    def _without_plugin(self, found: Installation) -> Refusal | None:
        """Refuse where a plugin is missing: a broker boots without it and says so in its log alone."""
        plugins = found.plugins()
        if missing := [name for name in self._plugins if name not in plugins]:
            there = ", ".join(name for name in plugins if name.startswith("rabbitmq_"))
            return Refusal(
                f"{found.home} has no plugin {', '.join(missing)}; it has: {there}",
                f"correct testbed_rabbitmq_plugins, or put the plugin into {found.folders[-1]}",
            )
        return None

    def _remedy(self, spec: ServiceSpec) -> str:
        if self._home:
            return "correct testbed_rabbitmq_home, or leave it out to have other places looked at"
        remedy = "apt-get install rabbitmq-server (or brew install rabbitmq), or set testbed_rabbitmq_home"
        return f"{remedy}, or ask for another testbed_rabbitmq_version" if spec.version else remedy

    def launch(self, spec: ServiceSpec, context: Context) -> Launch:
        """Lay out a node's directories and return the command that starts it."""
        if self._found is None and (refusal := self.refusal(spec, context)) is not None:
            raise ServiceNotReady(refusal.reason)
        assert self._found is not None
        node = Node(self._found, self._erlang, context, self._plugins, self._login, self._user)
        node.lay_out()
        trimmed = self._trimmed(context, self._found) if self._is_quick else None
        launch = node.launch(trimmed or self._found.home)
        return launch.with_(broken=Mender(launch, node, self._found.home if trimmed else None).mend)

    def _trimmed(self, context: Context, found: Installation) -> Path | None:
        """Return a directory like the server's with fewer plugins; None where that was not tried, or cannot be."""
        plugins = found.plugins()
        keep = needed(plugins, self._plugins) if found.version.startswith(TRIED) else None
        if keep is None:
            return None
        home = context.directory / "rabbitmq-server"
        (home / "plugins").mkdir(parents=True, mode=0o755)
        shutil.copytree(found.home / "sbin", home / "sbin")  # its scripts look for all else from where they really are
        lead_home(home / "sbin" / "rabbitmq-env", home)
        for name in ("escript", "share", "etc"):
            if (found.home / name).exists():
                (home / name).symlink_to(found.home / name)
        for name in keep:
            (home / "plugins" / plugins[name].name).symlink_to(plugins[name])
        return home


def lead_home(script: Path, home: Path) -> None:
    """Let a copied script take a directory for the server's, also where a package wrote the original's name into it."""
    text = script.read_text()
    script.write_text(re.sub(r"(?m)^RABBITMQ_HOME=.*$", lambda found: f'RABBITMQ_HOME="{home}"', text, count=1))


class Node:
    """One node's directories and settings.

    Args:
        found: the server.
        erlang: the directory of Erlang's programs.
        context: the run.
        plugins: what is enabled.
        login: who logs in.
        user: whom the server runs as.
    """

    def __init__(
        self, found: Installation, erlang: Path, context: Context, plugins: Sequence[str], login: str, user: User | None
    ) -> None:
        self._found, self._erlang, self._plugins, self._login, self._user = found, erlang, plugins, login, user
        self.directory = context.directory / "rabbitmq"
        self.log = context.directory / "rabbitmq.log"
        self._password = os.urandom(12).hex()

    def lay_out(self) -> None:
        """Make what the node finds at its start."""
        for each in (self.directory, self.directory / "home"):
            each.mkdir(mode=0o700)
            hand_over(each, self._user)
        self._write("enabled_plugins", f"[{','.join(self._plugins)}].\n")
        self._write("home/.erlang.cookie", os.urandom(12).hex()).chmod(0o400)

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        hand_over(path, self._user)
        return path

    def launch(self, home: Path) -> Launch:
        """Return the command for a server's directory, on ports that are free now."""
        port, management, distribution, *more = free_ports(3 + len(LISTENERS))
        opened = dict(zip(LISTENERS, more, strict=True))
        # all are told: one may be enabled by another that needs it
        told = [f"{{{name}, [{LISTENERS[name].replace('PORT', str(number))}]}}" for name, number in opened.items()]
        self._write("advanced.config", f"[{', '.join(told)}].\n")
        config = self._write(
            "rabbitmq.conf",
            f"default_user = {self._login}\ndefault_pass = {self._password}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n"
            # a test's few messages need no room to spare, and a full disk would stop all who publish
            "disk_free_limit.absolute = 1MB\n"
            "log.console = true\nlog.file = false\n",
        )
        endpoint = Endpoint(
            kind="rabbitmq",
            host="127.0.0.1",
            port=port,
            user=self._login,
            password=self._password,
            database="/",
            scheme="amqp",
            provider="local",
            source=self._found.source,
            ports={"management": management, **self._named(opened)},
        )
        return Launch(
            # by its name: a run's directory may lie where nothing can be executed
            argv=["/bin/sh", str(home / "sbin" / "rabbitmq-server")],
            environment=self._environment(home, port, distribution, config),
            directory=self.directory,
            log=self.log,
            endpoint=endpoint,
            user=self._user,
            stop_signal=signal.SIGKILL,  # nobody wants its data
        )

    def _named(self, opened: Mapping[str, int]) -> dict[str, int]:
        """Return the ports of enabled plugins by short names ("mqtt")."""
        enabled = needed(self._found.plugins(), self._plugins) or self._plugins
        return {name.removeprefix("rabbitmq_"): number for name, number in opened.items() if name in enabled}

    def _environment(self, home: Path, port: int, distribution: int, config: Path) -> dict[str, str]:
        name = f"testbed-{port}@localhost"
        folders = [home / "plugins"] if home != self._found.home else self._found.folders
        erlang = [
            f"-sname {name} -start_epmd false -erl_epmd_port {distribution}",
            f"-kernel inet_dist_listen_min {distribution} inet_dist_listen_max {distribution}",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        ]
        return {
            **{variable: text for variable, text in os.environ.items() if variable in KEPT},
            "PATH": f"{self._erlang}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.directory / "home"),
            "LANG": "C.UTF-8",
            "RABBITMQ_HOME": str(home),
            "RABBITMQ_PLUGINS_DIR": ":".join(map(str, folders)),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG": LOG_LEVELS,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONFIG_FILES": str(self.directory / "conf.d" / "*.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(erlang),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, which we then are the parent of
            "ERL_CRASH_DUMP_SECONDS": "0",
            # Whoever listens on epmd's usual port is not asked: the node would register there. And once a minute a broker
            # looks whether epmd is there, and if not starts another Erlang, which would start one: on all addresses, and
            # for good.
            "ERL_EPMD_PORT": NO_PORT,
            "ERL_ZFLAGS": "-start_epmd false",
        }


def free_ports(number: int) -> list[int]:
    """Return ports that nobody holds at the moment, each another one."""
    found: dict[int, None] = {}
    while len(found) < number:
        found[free_port()] = None
    return list(found)


class Mender:
    """What to do about a node that ended before it was ready: other ports, or all of the server's plugins.

    Args:
        launch: what was tried.
        node: the node.
        plain: the server's own directory, where a trimmed one was tried.
    """

    def __init__(self, launch: Launch, node: Node, plain: Path | None) -> None:
        self._launch, self._node, self._plain = launch, node, plain
        self._tries = PORT_TRIES

    def mend(self, log: str) -> Launch | None:
        """Return a launch that may do better, or None."""
        home = Path(self._launch.environment["RABBITMQ_HOME"])
        if any(words in log for words in ("could_not_start_listener", "eaddrinuse", "address already in use")):
            self._tries -= 1
            return self._again(home) if self._tries >= 0 else None
        plain, self._plain = self._plain, None
        return self._again(plain) if plain is not None else None

    def _again(self, home: Path) -> Launch:
        shutil.rmtree(self._node.directory / "data", ignore_errors=True)
        self._node.log.write_bytes(b"")
        broken: Callable[[str], Launch | None] = self.mend
        self._launch = self._node.launch(home).with_(broken=broken)
        return self._launch
