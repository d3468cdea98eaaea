"""pytest itself dies in many ways, alone and with xdist: what is left, and how the run beside it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Servers
from tests.deaths import DEATHS, Death, Outcome, Run, World, die, die_and_keep, world_like

EVERY = [pytest.param(name, workers, id=f"{name}-n{workers}") for name, death in DEATHS.items() for workers in death.workers]
KILLED = [each for each in EVERY if each.values[0] in ("controller", "worker", "host", "all", "starting")]


def world(servers: Servers, provider: str, factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a world with a run that lives beside all others, and see that it ends well."""
    testbed = servers.any_local() if provider == "local" else servers.get(provider)
    world = world_like(factory.mktemp(provider), testbed)
    yield world
    assert world.close() == {}


@pytest.fixture(scope="module")
def local(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from world(servers, "local", tmp_path_factory)


@pytest.fixture(scope="module")
def docker(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from world(servers, "docker", tmp_path_factory)


@pytest.fixture(scope="module")
def external(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from world(servers, "external", tmp_path_factory)


def must_be_clean(outcome: Outcome) -> None:
    assert outcome.faults == []
    assert outcome.left == {}
    assert any(outcome.before.values())


@pytest.mark.parametrize(("name", "workers"), EVERY)
def test_local(local: World, name: str, workers: int) -> None:
    must_be_clean(die(local, DEATHS[name], workers))


@pytest.mark.parametrize(("name", "workers"), KILLED)
def test_docker(docker: World, name: str, workers: int) -> None:
    must_be_clean(die(docker, DEATHS[name], workers))


@pytest.mark.parametrize(("name", "workers"), KILLED)
def test_databases_on_a_server_that_is_not_ours(external: World, name: str, workers: int) -> None:
    must_be_clean(die(external, DEATHS[name], workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("provider", ["local", "docker", "external"])
def test_with_reuse_the_host_stays_and_the_databases_go(request: pytest.FixtureRequest, provider: str, workers: int) -> None:
    must_be_clean(die_and_keep(request.getfixturevalue(provider), workers))


def test_what_nobody_removed_is_seen(local: World) -> None:
    """These tests can fail: a host that is killed has left something until the next run comes."""
    outcome = die(local, replace(DEATHS["host"], by="host"), seconds=0.5)
    assert {"processes", "folders", "segments", "sockets", "records"} <= set(outcome.left)
    run = local.run("patient")  # sweeps
    run.say("go")
    assert run.wait() == 0


def test_a_wrong_end_is_seen(local: World) -> None:
    outcome = die(local, Death(title="", act=DEATHS["end"].act, codes=(5,), shows=("never said",)))
    assert [fault.partition(":")[0] for fault in outcome.faults] == ["exit code 0, not 5", "pytest did not say 'never said'"]


def test_harm_to_the_run_beside_is_seen(servers: Servers, tmp_path: Path) -> None:
    world = world_like(tmp_path, servers.any_local())

    def harm(run: Run) -> None:
        world.neighbour().kill()
        DEATHS["end"].act(run)

    outcome = die(world, Death(title="", act=harm))
    assert outcome.faults == ["the run beside was harmed"]
    assert world.close() == {}
