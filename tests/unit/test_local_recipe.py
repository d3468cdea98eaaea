"""What a private server's recipe does about a start that failed; without a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import ServiceNotReady
from pytest_testbed.postgres import binaries, local
from pytest_testbed.postgres.binaries import Binaries, find_binaries
from pytest_testbed.postgres.cluster import Cluster
from pytest_testbed.postgres.local import LocalPostgres, Mender, reachable
from pytest_testbed.postgres.service import postgres_spec
from pytest_testbed.services.model import Context, Endpoint
from pytest_testbed.services.providers.local import Launch

TAKEN = "LOG: could not bind IPv4 address: Address already in use\nFATAL: could not create any TCP/IP sockets"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    directory = tmp_path / "service"
    directory.mkdir()
    nothing: Any = lambda *_: None  # noqa: E731
    return Context(run="run", directory=directory, cache=None, own=nothing, disown=nothing, progress=nothing)


@pytest.fixture
def mender(tmp_path: Path) -> Callable[[bool], Mender]:
    def make(has_cached_data: bool) -> Mender:
        endpoint = Endpoint(kind="postgres", host="127.0.0.1", port=1)
        argv = ["postgres", "-c", "port=1"]
        launch = Launch(argv=argv, environment={}, directory=tmp_path, log=tmp_path / "log", endpoint=endpoint)
        cluster: Any = SimpleNamespace(renew=lambda: has_cached_data)
        return Mender(launch, cluster)

    return make


def test_a_taken_port_is_replaced_a_few_times(mender: Callable[[bool], Mender]) -> None:
    ours = mender(False)
    for _ in range(3):
        launch = ours.mend(TAKEN)
        assert launch is not None
        assert launch.endpoint.port != 1
        assert f"port={launch.endpoint.port}" in launch.argv
    assert ours.mend(TAKEN) is None


def test_data_of_the_cache_are_replaced(mender: Callable[[bool], Mender]) -> None:
    launch = mender(True).mend("PANIC: could not locate a valid checkpoint record")
    assert launch is not None
    assert launch.endpoint.port == 1


def test_data_that_are_not_of_the_cache_are_not_to_blame(mender: Callable[[bool], Mender]) -> None:
    assert mender(False).mend("PANIC: could not locate a valid checkpoint record") is None


def test_data_that_were_just_made_are_not_renewed(tmp_path: Path, context: Context) -> None:
    assert not Cluster(Binaries(tmp_path, tmp_path, "17.2", "here"), None, (), context).renew()


def test_settings_are_the_users(mender: Callable[[bool], Mender]) -> None:
    assert mender(True).mend('FATAL: unrecognized configuration parameter "x"') is None


def test_a_launch_without_binaries_says_what_is_missing(tmp_path: Path, context: Context) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ServiceNotReady, match=re.escape(f"{nowhere} has no initdb and postgres")):
        LocalPostgres({"bindir": str(nowhere)}).launch(postgres_spec(provider="local"), context)


def test_a_program_that_does_not_run_is_told(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    found, looked = find_binaries(str(tmp_path), None, None)
    assert found is None
    assert f"{tmp_path}/postgres does not run" in str(looked)


def test_without_the_wheel_there_are_no_binaries_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert binaries._wheel() is None


def test_a_private_copy_lies_with_the_run_where_there_is_no_other_place(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "closed" / "pginstall"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "postgres").write_text("it")
    (root / "bin" / "postgres").chmod(0o700)
    (root / "lib").mkdir()
    (root / "lib" / "libpq.so").symlink_to("libpq.so.5")  # nothing is changed behind a link
    monkeypatch.setattr(local, "open_to_all", lambda path: False)
    monkeypatch.setattr(local, "private", lambda path: None)
    found = Binaries(root, root / "bin", "17.2", "here")
    user: Any = object()
    copy = reachable(found, user, context)
    assert copy.directory.is_relative_to(context.directory)
    assert (copy.root / "lib" / "libpq.so").readlink() == Path("libpq.so.5")
    assert (copy.directory / "postgres").stat().st_mode & 0o777 == 0o755
    assert reachable(found, user, context) == copy
