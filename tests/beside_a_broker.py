"""A node of ours beside a broker that somebody else runs on the usual ports, with the epmd that this one has started.

To be run where the network, /etc/rabbitmq and all processes are this program's alone:

    unshare --net --mount --mount-proc --pid --fork --kill-child python -m tests.beside_a_broker <server> <data>
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pika

from pytest_testbed import Endpoint, Testbed
from pytest_testbed.rabbitmq.service import rabbitmq_spec
from tests import leftovers, listeners
from tests.deaths import read, until

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
USUAL = {4369, 5672, 15672, 25672}


def main(server: str, data: str) -> None:
    """Start both, look at both, and end the other one first."""
    begin_loopback()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/rabbitmq"], check=True)
    Path("/etc/rabbitmq/enabled_plugins").write_text("[rabbitmq_management].\n")
    foreign = start_foreign(server, data)
    until("the broker on the usual port", lambda: foreign.poll() is None and foreign_vhosts())
    # whoever reads them listens elsewhere: for the broker that runs they come too late
    Path("/etc/rabbitmq/conf.d").mkdir()
    Path("/etc/rabbitmq/conf.d/90-strange.conf").write_text("listeners.tcp.strange = 0.0.0.0:5999\n")
    Path("/etc/rabbitmq/rabbitmq.conf").write_text("listeners.tcp.strange = 0.0.0.0:5998\n")
    Path("/etc/rabbitmq/advanced.config").write_text('[{rabbit, [{tcp_listeners, [{"0.0.0.0", 5997}]}]}].\n')
    Path("/etc/rabbitmq/rabbitmq-env.conf").write_text("NODENAME=strange@localhost\n")
    others = set(listeners.everybody().values())
    assert {port for _, port in others} == USUAL, others
    names, vhosts = registered(), foreign_vhosts()
    assert "rabbit" in names, names
    with Testbed([rabbitmq_spec(provider="local")]) as testbed:
        endpoint = testbed.endpoint("rabbitmq")
        mine = listeners.of(leftovers.processes(testbed.run))
        assert {address for address, _ in mine} == {"127.0.0.1"}, mine
        assert not {port for _, port in mine} & USUAL, mine
        assert set(listeners.everybody().values()) == others | mine
        look_for_epmd(endpoint, mine)
        assert registered() == names, "nobody tells epmd of us"
        assert foreign_vhosts() == vhosts
        assert foreign.poll() is None
        # once nobody is there, nobody comes: a broker starts epmd where it misses it
        foreign.kill()
        foreign.wait()
        subprocess.run(["epmd", "-kill"], check=True, capture_output=True)
        until("the end of epmd", lambda: set(listeners.everybody().values()) == mine)
        look_for_epmd(endpoint, mine)
        assert set(listeners.everybody().values()) == mine
        assert "epmd" not in {read(pid, "comm").decode().strip() for pid in leftovers.processes(testbed.run)}
    assert listeners.everybody() == {}
    assert leftovers.gone(testbed.run) == {}


def begin_loopback() -> None:
    """Let this network have 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def start_foreign(server: str, data: str) -> subprocess.Popen[bytes]:
    """Start a broker as a user does it."""
    names = {"HOME": data, "PATH": os.environ["PATH"], "RABBITMQ_NODENAME": "rabbit@localhost"}
    bases = {f"RABBITMQ_{name}_BASE": f"{data}/{name}" for name in ("MNESIA", "LOG")}
    environment = {**names, **bases, "RUNNING_UNDER_SYSTEMD": "yes"}
    with open(f"{data}/output", "wb") as output:
        return subprocess.Popen(["/bin/sh", f"{server}/sbin/rabbitmq-server"], env=environment, stdout=output, stderr=output)


def foreign_vhosts() -> list[str]:
    """Return the virtual hosts of the broker on the usual port; none where it does not answer yet."""
    from pytest_testbed.rabbitmq.api import ApiError, ManagementApi

    guest = Endpoint(kind="rabbitmq", host="127.0.0.1", port=5672, user="guest", password="guest", ports={"management": 15672})
    try:
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 5672)).close()
        return ManagementApi(guest).vhosts()
    except (pika.exceptions.AMQPError, ApiError):
        return []


def registered() -> set[str]:
    """Return the names of the nodes that epmd knows."""
    done = subprocess.run(["epmd", "-names"], capture_output=True, text=True, check=True)
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("name ")}


def look_for_epmd(endpoint: Endpoint, mine: set[tuple[str, int]]) -> None:
    """Let a node of ours do at once what brokers do once a minute, and wait until it is done."""
    (distribution,) = {port for _, port in mine} - {endpoint.port, *endpoint.ports.values()}
    monitor = f"{{rabbit_epmd_monitor, 'testbed-{endpoint.port}@localhost'}}"
    ask = f"erlang:send({monitor}, check), sys:get_state({monitor}, 30000), halt()."
    home = Path(endpoint.log).parent / "rabbitmq" / "home"
    subprocess.run(
        ["erl", "-noinput", "-sname", "asker@localhost", "-dist_listen", "false", "-start_epmd", "false"]
        + ["-erl_epmd_port", str(distribution), "-eval", ask],
        env={**os.environ, "HOME": str(home), "ERL_EPMD_PORT": "0"},
        check=True,
        timeout=60,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
