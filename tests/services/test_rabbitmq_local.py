"""The local provider for RabbitMQ: which server, which user, what its node opens and reads; and what may go wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pika
import pytest

from pytest_testbed import Endpoint, ServiceNotReady, ServiceUnavailable, Testbed
from pytest_testbed.rabbitmq.api import ManagementApi
from pytest_testbed.rabbitmq.installation import Installation, find_erlang, find_installation
from pytest_testbed.rabbitmq.local import Mender, Node
from pytest_testbed.rabbitmq.service import rabbitmq_spec
from pytest_testbed.services.death import gone_within
from pytest_testbed.services.ledger import start_time
from pytest_testbed.services.model import Context, ProcessRecipe
from pytest_testbed.services.providers.local import unprivileged_user
from tests import leftovers, listeners
from tests.conftest import Brokers

ROOT = os.geteuid() == 0
# an ordinary user, except that it may read this Python where that lies under root's closed home
READ_ALL = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
AS_NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *READ_ALL]
needs_root = pytest.mark.skipif(not ROOT, reason="root: only root gives up its rights, and can make the conditions")
EXCHANGE = "rabbitmq_consistent_hash_exchange"


@pytest.fixture(scope="session")
def node(brokers: Brokers) -> Testbed:
    """The node of our own that other tests use as well."""
    return brokers.get("local")


@pytest.fixture
def start(node: Testbed) -> Iterator[Callable[..., Testbed]]:
    """Start nodes that are ended after the test, where the machine has a server."""
    made: list[Testbed] = []

    def start(data: Path | str = "", recipe: str = "", **options: object) -> Testbed:
        spec = rabbitmq_spec(**{"provider": "local", **options})  # type: ignore[arg-type]
        if recipe:
            assert spec.process is not None
            spec = spec.with_(process=ProcessRecipe(recipe=recipe, options=spec.process.options))
        made.append(Testbed([spec], data=str(data)))
        return made[-1]

    yield start
    with ExitStack() as stack:
        for testbed in made:
            stack.callback(must_be_gone, testbed, main_process(testbed))


def context(folder: Path) -> Context:
    return Context(
        run="0" * 12, directory=folder, cache=None, own=lambda *_: None, disown=lambda *_: None, progress=lambda _: None
    )


def must_be_gone(testbed: Testbed, server: int) -> None:
    """End a node, and see that nothing of it is left: its helpers end a moment after it."""
    processes = leftovers.processes(testbed.run)
    assert testbed.close() == []
    assert leftovers.gone(testbed.run) == {}
    assert not server or not start_time(server)
    assert not [pid for pid in processes if start_time(pid)]


def main_process(testbed: Testbed) -> int:
    """Return the process of a node itself; 0 where there is none."""
    found = [pid for pid in leftovers.processes(testbed.run) if name_of(pid).startswith("beam")]
    assert len(found) < 2
    return found[0] if found else 0


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@pytest.fixture(scope="session")
def server(node: Testbed) -> Installation:
    """The server of this machine."""
    found, looked = find_installation("", None, os.environ)
    assert found is not None, looked
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that everybody can read: in pytest's own, which any other run closes again, an unprivileged node cannot."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="of-testbed-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def home(server: Installation, folder: Path) -> Path:
    """A directory like the server's, to be changed: its plugins are links."""
    home = folder / "server" / "home"
    (home / "plugins").mkdir(parents=True)
    shutil.copytree(server.home / "sbin", home / "sbin")
    (home / "escript").symlink_to(server.home / "escript")
    for path in server.plugins().values():
        (home / "plugins" / path.name).symlink_to(path)
    return home


def as_own(plugin: Path) -> Path:
    """Put a copy in the place of a plugin that is a link; return it."""
    original = plugin.resolve()
    plugin.unlink()
    shutil.copytree(original, plugin)
    return plugin


def plugin_of(home: Path, name: str) -> Path:
    (found,) = (home / "plugins").glob(f"{name}-[0-9]*")
    return found


def said(endpoint: Endpoint, *path: str) -> Any:
    """Return what the management API says of something."""
    with closing(ManagementApi(endpoint)) as api:
        return api.get(*path)


def vhosts(endpoint: Endpoint) -> set[str]:
    """Return the names of a broker's virtual hosts."""
    return {each["name"] for each in said(endpoint, "vhosts")}


def works(endpoint: Endpoint, exchange_type: str = "direct", vhost: str = "/") -> bool:
    """Send a message through an exchange of a type, and get it."""
    with pika.BlockingConnection(pika.URLParameters(endpoint.url(vhost))) as connection:
        channel = connection.channel()
        channel.exchange_declare("there", exchange_type, auto_delete=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "there", "1")
        channel.confirm_delivery()
        channel.basic_publish("there", "1", b"hello", mandatory=True)
        return bool(channel.basic_get(queue, auto_ack=True)[2] == b"hello")


def await_true(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- a node of its own


def test_node_listens_on_loopback_alone_and_on_ports_of_its_own(node: Testbed) -> None:
    endpoint = node.endpoint("rabbitmq")
    found = listeners.of(leftovers.processes(node.run))
    assert {address for address, _ in found} == {"127.0.0.1"}
    ports = {port for _, port in found}
    assert len(ports) == 3, "AMQP, management, distribution"
    assert {endpoint.port, endpoint.ports["management"]} < ports
    assert not ports & {4369, 5672, 15672, 25672}


def test_node_has_its_own_name_cookie_and_directories(node: Testbed) -> None:
    endpoint = node.endpoint("rabbitmq")
    (directory,) = map(Path, leftovers.directories(node.run))
    environment = environment_of(main_process(node))
    assert environment["HOME"].startswith(str(directory))
    cookie = Path(environment["HOME"], ".erlang.cookie")
    assert cookie.stat().st_mode & 0o777 == 0o400
    assert len(cookie.read_text()) >= 24
    assert (directory / "rabbitmq").stat().st_mode & 0o777 == 0o700
    assert said(endpoint, "overview")["node"] == f"testbed-{endpoint.port}@localhost"
    server = main_process(node)
    files = set()
    for entry in os.scandir(f"/proc/{server}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            files.add(Path(os.readlink(entry.path)))
    assert [path for path in files if path.is_file() and not path.is_relative_to(directory)] == []
    assert directory / "rabbitmq.log" in files
    assert str(directory) in Path(f"/proc/{server}/cmdline").read_text(), "so a sweep knows it where it sees no more of it"


def test_no_epmd_is_started(node: Testbed) -> None:
    node.endpoint("rabbitmq")
    names = {name_of(pid) for pid in leftovers.processes(node.run)}
    assert "epmd" not in names
    assert any(name.startswith("beam") for name in names)


@needs_root
def test_root_drops_to_an_unprivileged_user(node: Testbed) -> None:
    node.endpoint("rabbitmq")
    user = unprivileged_user()
    assert user is not None
    for pid in leftovers.processes(node.run):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert {int(number) for number in status["Uid"].split()} == {user.uid}
        assert status["Groups"].split() in ([], [str(user.gid)])


def test_another_password_is_refused(node: Testbed, start: Callable[..., Testbed]) -> None:
    endpoint = node.endpoint("rabbitmq")
    for user, password in ((endpoint.user, "wrong"), ("guest", "guest")):
        other = endpoint.with_(user=user, password=password)
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(other.url()))


STRANGE = {
    # a RabbitMQ heeds most of them without their prefix, too
    "RABBITMQ_NODENAME": "stranger@localhost",
    "RABBITMQ_PLUGINS_DIR": "/nowhere",
    "RABBITMQ_SERVER_START_ARGS": "-nonsense",
    "RABBITMQ_CTL_ERL_ARGS": "-nonsense",
    "RABBITMQ_DEFAULT_USER": "stranger",
    "RABBITMQ_DEFAULT_PASS": "strange",
    "RABBITMQ_ENABLED_PLUGINS": "rabbitmq_stomp",
    "RABBITMQ_QUORUM_DIR": "/nowhere",
    "DEFAULT_VHOST": "strange",
    "ENABLED_PLUGINS": "rabbitmq_stomp",
    "MNESIA_DIR": "/nowhere",
    "STREAM_DIR": "/nowhere",
    "PID_FILE": "/nowhere/pid",
    "FEATURE_FLAGS_FILE": "/nowhere/flags",
    "PLUGINS_EXPAND_DIR": "/nowhere",
    "CONFIG_FILE": "/nowhere/strange.conf",
    "USE_LONGNAME": "true",
    "NODE_PORT": "1",
    "SERVER_START_ARGS": "-nonsense",
    "MAX_NUMBER_OF_ATOMS": "1",
    "BOOT_MODULE": "nonsense",
    "detached": "true",
    "NOTIFY_SOCKET": "/nowhere",
    "ERL_FLAGS": "-nonsense",
    "ERL_AFLAGS": "-s nonsense",
    "ERL_ZFLAGS": "-s nonsense",
    "ERL_LIBS": "/nowhere",
    "ERL_EPMD_PORT": "5000",
    "ERL_INETRC": "/nowhere",
    "EMU": "nonsense",
}


def test_nothing_of_the_caller_leaks_in(start: Callable[..., Testbed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STRANGE.items():
        monkeypatch.setenv(name, value)
    # what Erlang reads at its start below a user's home
    (tmp_path / "config" / "erlang").mkdir(parents=True)
    for name in (".erlang", ".erlang.cookie", "config/erlang/.erlang", "config/erlang/.erlang.cookie"):
        (tmp_path / name).write_text("halt(9).")
        (tmp_path / name).chmod(0o400)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    for name, path in {"HOME": tmp_path, "XDG_CONFIG_HOME": tmp_path / "config", "XDG_STATE_HOME": state}.items():
        monkeypatch.setenv(name, str(path))
    testbed = start()
    endpoint = testbed.endpoint("rabbitmq")
    assert works(endpoint)
    environment = environment_of(main_process(testbed))
    (directory,) = leftovers.directories(testbed.run)
    assert environment["HOME"].startswith(directory)
    assert {name for name, value in STRANGE.items() if environment.get(name) == value} == set()
    assert {name for name, value in environment.items() if str(tmp_path) in value} == set()
    assert endpoint.user == "testbed"
    assert "/" in vhosts(endpoint)


def test_two_nodes_side_by_side(node: Testbed, start: Callable[..., Testbed]) -> None:
    first, second = node.endpoint("rabbitmq"), start().endpoint("rabbitmq")
    assert first.port != second.port
    assert first.password != second.password
    assert works(first)
    assert works(second)
    assert not {name for name in vhosts(first) if name != "/"} & vhosts(second)


@needs_root
def test_broker_and_epmd_on_the_usual_ports_are_neither_touched_nor_asked(server: Installation, tmp_path: Path) -> None:
    alone = ["unshare", "--net", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*alone, sys.executable, "-m", "tests.beside_a_broker", str(server.home), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_root
def test_works_as_an_ordinary_user_too(node: Testbed) -> None:
    home = Path("/var/tmp") / f"testbed-home-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    script = (
        "from pytest_testbed import Testbed; from pytest_testbed.rabbitmq.service import rabbitmq_spec\n"
        "from pytest_testbed.rabbitmq.login import try_login\n"
        "with Testbed([rabbitmq_spec(provider='local')]) as testbed:\n"
        "    endpoint = testbed.endpoint('rabbitmq')\n"
        "    print(testbed.run, endpoint.version, try_login(endpoint, testbed.take('rabbitmq'), 5.0))\n"
    )
    try:
        done = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", script], cwd=home, text=True,
            env={"HOME": str(home), "PATH": os.environ["PATH"]}, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        run, version, same = done.stdout.split()
        assert version == same
        assert leftovers.gone(run) == {}
        assert [path.name for path in home.iterdir() if path.name not in (".cache", ".local")] == []
    finally:
        shutil.rmtree(home)


@needs_root
def test_runs_directory_may_lie_where_nothing_can_be_executed(start: Callable[..., Testbed], folder: Path) -> None:
    place = folder / "place"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "tmpfs", str(place)], check=True)
    try:
        testbed = start(data=place)
        assert works(testbed.endpoint("rabbitmq"))
        assert is_quick(testbed)
        assert testbed.close() == []
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


# --- which of its plugins are there


def is_quick(testbed: Testbed) -> bool:
    """Tell whether a node has only the plugins that it needs."""
    folder = Path(environment_of(main_process(testbed))["RABBITMQ_PLUGINS_DIR"])
    in_code_path = environment_of(main_process(testbed))["ERL_LIBS"]
    names = {path.name.partition("-")[0] for path in folder.iterdir()}
    assert in_code_path == str(folder)
    return "rabbitmq_federation" not in names


def test_plugins_that_nobody_needs_are_left_out(node: Testbed) -> None:
    node.endpoint("rabbitmq")
    assert is_quick(node)
    types = {each["name"] for each in said(node.endpoint("rabbitmq"), "overview")["exchange_types"]}
    assert "topic" in types
    assert "x-consistent-hash" not in types


def test_plain_boot_where_it_is_wanted(start: Callable[..., Testbed]) -> None:
    testbed = start(quick=False)
    assert works(testbed.endpoint("rabbitmq"))
    assert not is_quick(testbed)


def test_more_plugins_work_and_listen_on_loopback_alone(start: Callable[..., Testbed]) -> None:
    opened = ["stomp", "web_stomp", "stream", "prometheus"]
    testbed = start(plugins=[EXCHANGE, *(f"rabbitmq_{name}" for name in opened if name != "stomp")])
    endpoint = testbed.endpoint("rabbitmq")
    assert is_quick(testbed)
    assert works(endpoint, "x-consistent-hash")
    assert set(endpoint.ports) == {"management", *opened}, "web_stomp needs stomp"
    found = listeners.of(leftovers.processes(testbed.run))
    assert {address for address, _ in found} == {"127.0.0.1"}
    assert {port for _, port in found} >= set(endpoint.ports.values())
    with socket.create_connection(("127.0.0.1", endpoint.ports["stomp"])) as connection:
        connection.sendall(f"CONNECT\nlogin:{endpoint.user}\npasscode:{endpoint.password}\n\n\0".encode())
        assert connection.recv(100).startswith(b"CONNECTED")


def test_packed_plugin_and_a_package_that_wrote_its_place_into_a_script(start: Callable[..., Testbed], home: Path) -> None:
    """As others' plugins come, and as Homebrew does it: both boot quickly all the same."""
    link = plugin_of(home, EXCHANGE)
    with zipfile.ZipFile(home / "plugins" / f"{link.name}.ez", "w") as archive:
        for path in link.resolve().rglob("*"):
            archive.write(path, Path(link.name) / path.relative_to(link.resolve()))
    link.unlink()
    script = home / "sbin" / "rabbitmq-env"
    script.write_text(re.sub(r"(?m)^RABBITMQ_HOME=.*$", f"RABBITMQ_HOME={home}", script.read_text()))
    testbed = start(home=str(home), plugins=[EXCHANGE])
    assert works(testbed.endpoint("rabbitmq"), "x-consistent-hash")
    assert is_quick(testbed)


def test_all_plugins_where_some_do_not_do(start: Callable[..., Testbed], home: Path) -> None:
    """What a plugin says of its needs may be wrong."""
    for said in sorted(home.glob("plugins/rabbit*/ebin/rabbit*.app")):
        if "cuttlefish" in (text := said.read_text()):
            resource = as_own(said.parent.parent) / "ebin" / said.name
            resource.write_text(re.sub(r",\s*cuttlefish\b|\bcuttlefish\s*,", "", text))
    testbed = start(home=str(home))
    assert works(testbed.endpoint("rabbitmq"))
    assert not is_quick(testbed)


# --- what the machine lacks


def refused(start: Callable[..., Testbed], **options: object) -> str:
    """Return what is said of a node that cannot be had: on one line."""
    began = time.monotonic()
    with pytest.raises(ServiceUnavailable) as caught:
        start(**options).endpoint("rabbitmq")
    assert time.monotonic() - began < 5, "at once"
    return " ".join(str(caught.value).split())


def pretended(home: Path, version: str) -> Path:
    """Make what looks like a server of that version."""
    (home / "plugins" / f"rabbit-{version}").mkdir(parents=True)
    (home / "sbin").mkdir()
    (home / "sbin" / "rabbitmq-server").write_text("#!/bin/sh\nexit 1\n")
    (home / "sbin" / "rabbitmq-server").chmod(0o755)
    return home


@pytest.mark.parametrize("makes", ["nothing", "directory"])
def test_wrong_home_is_said(start: Callable[..., Testbed], tmp_path: Path, makes: str) -> None:
    home = tmp_path / "home"
    if makes == "directory":
        home.mkdir()
    text = refused(start, home=str(home))
    what = "not there" if makes == "nothing" else "no plugins/rabbit-* and sbin/rabbitmq-server there"
    assert f"no rabbitmq-server; looked at: {home} ({what})" in text
    assert "correct testbed_rabbitmq_home, or leave it out" in text


def test_another_version_than_there_is(start: Callable[..., Testbed], server: Installation) -> None:
    text = refused(start, version="3.9.99")
    assert "no rabbitmq-server 3.9.99; looked at: " in text
    assert f"{server.home} has {server.version}" in text
    assert "apt-get install rabbitmq-server (or brew install rabbitmq)" in text
    assert "or ask for another testbed_rabbitmq_version" in text


def test_version_that_is_too_old(start: Callable[..., Testbed], tmp_path: Path) -> None:
    home = pretended(tmp_path / "home", "3.8.34")
    assert f"{home} is RabbitMQ 3.8.34, and 3.9 is the oldest that is run here" in refused(start, home=str(home))


@needs_root
def test_server_that_root_alone_can_read(start: Callable[..., Testbed], home: Path) -> None:
    home.parent.chmod(0o700)
    text = refused(start, home=str(home))
    assert f"{home}/sbin/rabbitmq-server can be read by root alone" in text
    assert home.parent.stat().st_mode & 0o777 == 0o700, "it stays closed"


def test_plugin_that_the_server_does_not_have(start: Callable[..., Testbed], server: Installation) -> None:
    text = refused(start, plugins=["rabbitmq_delayed_message_exchange", EXCHANGE])
    assert f"{server.home} has no plugin rabbitmq_delayed_message_exchange; it has: " in text
    assert EXCHANGE in text
    assert "correct testbed_rabbitmq_plugins" in text


# --- Erlang


def erl(folder: Path, text: str) -> dict[str, str]:
    """Make an Erlang that is a script; return the variables with which it is found."""
    folder.mkdir(parents=True)
    (folder / "erl").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "erl").chmod(0o755)
    return {"PATH": str(folder)}


def test_without_erlang(start: Callable[..., Testbed], server: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    text = refused(start)
    assert f"{server.home} needs Erlang, and no erl is on PATH" in text
    assert "install Erlang, or add the bin directory" in text


def test_script_on_path_that_runs_no_erlang(start: Callable[..., Testbed], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = erl(folder / "bin", "echo No version is set for command erl; echo sorry >&2; exit 126")["PATH"]
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    assert f"{path}/erl does not run (exit code 126): No version is set for command erl sorry" in refused(start)


def test_broken_erlang_is_shown_in_its_own_words(
    start: Callable[..., Testbed], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = erl(folder / "erlang" / "bin", "echo error while loading shared libraries >&2; exit 127")["PATH"]
    (folder / "erlang" / "releases").mkdir()
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    began = time.monotonic()
    with pytest.raises(ServiceNotReady) as caught:
        start().endpoint("rabbitmq")
    assert time.monotonic() - began < 5, "at once"
    assert "ended while it was starting: exit code 127" in str(caught.value)
    assert "error while loading shared libraries" in str(caught.value)


def test_script_of_a_version_manager_is_asked_where_its_erlang_is(server: Installation, tmp_path: Path) -> None:
    """It looks into the user's home, and a node has another one."""
    real = shutil.which("erl")
    environ = erl(tmp_path / "shims", f'[ "$HOME" = /mine ] && exec {real} "$@"; exit 1')
    environ["PATH"] += f":{os.environ['PATH']}"
    found, why = find_erlang({**environ, "HOME": "/mine"})
    assert found is not None, why
    assert (found.parent / "releases").is_dir()
    assert found != tmp_path / "shims"
    assert find_erlang({**environ, "HOME": "/another"})[0] is None


# --- what goes wrong while it starts, or later


TAKES_TAKEN_PORTS = """
from pathlib import Path
from pytest_testbed.rabbitmq import local

tries = Path({tries!r})
plain = local.free_ports

def free_ports(number):
    found = plain(number)
    done = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("x" * (done + 1))
    if done < 2:
        found[(2, 0)[done]] = {taken}
    return found

local.free_ports = free_ports
Recipe = local.LocalRabbit
"""


def test_taken_ports_are_mended(
    node: Testbed, start: Callable[..., Testbed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the distribution, on which Erlang itself listens, then AMQP's own: by another broker, which refuses us."""
    tries = tmp_path / "tries"
    # the host is another process: this recipe is found on our path, and looked up there
    text = TAKES_TAKEN_PORTS.format(tries=str(tries), taken=node.endpoint("rabbitmq").port)
    (tmp_path / "taken_ports.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    testbed = start(recipe="taken_ports:Recipe")
    assert works(testbed.endpoint("rabbitmq"))
    assert tries.read_text() == "xxx"
    assert is_quick(testbed), "the plugins are not to blame"


@pytest.mark.parametrize(
    "words",
    [
        "{could_not_start_listener,127.0.0.1,36681,{{shutdown,{_}}",
        "Failed to start Ranch listener rabbit_web_dispatch_sup_1 in ranch_tcp:listen([]) for reason eaddrinuse (address already",
        "Protocol 'inet_tcp': register/listen error: eaddrinuse",
    ],
)
def test_other_ports_are_tried_three_times_and_with_the_same_plugins(server: Installation, tmp_path: Path, words: str) -> None:
    node = Node(server, Path("/usr/bin"), context(tmp_path), ["rabbitmq_management"], "me", None)
    node.lay_out()
    launch = node.launch(tmp_path / "trimmed")
    mender = Mender(launch, node, server.home)
    ports = {launch.endpoint.port}
    for _ in range(3):
        other = mender.mend(words)
        assert other is not None
        assert other.environment["RABBITMQ_HOME"] == str(tmp_path / "trimmed")
        ports.add(other.endpoint.port)
    assert len(ports) == 4
    assert mender.mend(words) is None


def test_killed_broker_is_seen_and_started_again_and_its_old_virtual_hosts_go(start: Callable[..., Testbed]) -> None:
    testbed = start()
    endpoint = testbed.endpoint("rabbitmq")
    held, done = testbed.take("rabbitmq"), testbed.take("rabbitmq")
    assert testbed.check("rabbitmq") == ("", "")
    with pika.BlockingConnection(pika.URLParameters(endpoint.url(held))) as connection:
        connection.channel().queue_declare("kept", durable=True)
    before = vhosts(endpoint)
    killed = main_process(testbed)
    os.kill(killed, signal.SIGKILL)
    assert gone_within(killed, 5)
    testbed.give_back("rabbitmq", done)
    end, log = testbed.check("rabbitmq")
    assert end == "killed by signal 9"
    assert "completed with" in log
    again = testbed.endpoint("rabbitmq")
    assert (again.port, again.password, again.ports) == (endpoint.port, endpoint.password, endpoint.ports)
    fresh = testbed.take("rabbitmq")
    assert fresh not in before, "nothing is handed out twice"
    assert works(endpoint, vhost=fresh)
    # a test that looks at its application's return finds what was durable
    assert [each["name"] for each in said(endpoint, "queues", held)] == ["kept"]
    assert await_true(lambda: before & vhosts(endpoint) == {"/", held}), before & vhosts(endpoint)
    testbed.give_back("rabbitmq", held)
    assert await_true(lambda: held not in vhosts(endpoint))
