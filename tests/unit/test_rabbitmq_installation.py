"""Where a server is looked for on a machine, which one is taken, and which of its plugins a broker needs."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from pytest_testbed.rabbitmq import installation
from pytest_testbed.rabbitmq.installation import Installation, applications, find_installation, needed, numbers, plugins_in

NOWHERE = {"PATH": ""}


REAL, _ = find_installation("", None, os.environ)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual places of a machine of which nothing is known."""
    monkeypatch.setattr(installation, "PLACES", (f"{tmp_path}/rabbitmq_server-*", f"{tmp_path}/opt"))


def server(home: Path, version: str, *, packed: bool = False) -> Path:
    (home / "sbin").mkdir(parents=True)
    (home / "sbin" / "rabbitmq-server").touch(mode=0o755)
    (home / "plugins" / f"rabbit-{version}{'.ez' if packed else ''}").mkdir(parents=True)
    (home / "plugins" / "rabbit_common-9.9.9").mkdir()
    return home


def test_the_newest_is_taken_by_number(tmp_path: Path) -> None:
    homes = {version: server(tmp_path / f"rabbitmq_server-{version}", version) for version in ("3.9.29", "3.10.8", "3.8.1")}
    found, looked = find_installation("", None, NOWHERE)
    assert found is not None
    assert (found.home, found.version) == (homes["3.10.8"], "3.10.8")
    assert found.source == f"rabbitmq-server, {homes['3.10.8']}"
    assert looked == [f"{tmp_path}/opt"]


@pytest.mark.parametrize(
    ("wanted", "version"), [("3.9", "3.9.29"), ("3", "3.10.8"), ("3.10.8", "3.10.8"), ("3.1", ""), ("4", "")]
)
def test_a_version_is_a_prefix_of_whole_numbers(tmp_path: Path, wanted: str, version: str) -> None:
    for each in ("3.9.29", "3.10.8"):
        server(tmp_path / f"rabbitmq_server-{each}", each)
    found, looked = find_installation("", wanted, NOWHERE)
    assert (found.version if found else "") == version
    assert f"{tmp_path}/rabbitmq_server-3.9.29 has 3.9.29" in looked or wanted in ("3", "3.9")


def test_the_place_that_was_named_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server(tmp_path / "rabbitmq_server-4.0.5", "4.0.5")
    named = server(tmp_path / "named", "3.9.1", packed=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for home in (str(named), "~/named"):
        found, looked = find_installation(home, None, {"RABBITMQ_HOME": str(tmp_path / "rabbitmq_server-4.0.5")})
        assert found is not None
        assert (found.home, found.version, looked) == (named, "3.9.1", [])
    (tmp_path / "empty").mkdir()
    assert find_installation(str(tmp_path / "empty"), None, NOWHERE) == (
        None,
        [f"{tmp_path}/empty (no plugins/rabbit-* and sbin/rabbitmq-server there)"],
    )
    assert find_installation(str(tmp_path / "none"), None, NOWHERE) == (None, [f"{tmp_path}/none (not there)"])


def test_variables_name_places_as_well(tmp_path: Path) -> None:
    mine, path = server(tmp_path / "mine", "4.1.0"), server(tmp_path / "path", "4.2.0")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "rabbitmq-server").symlink_to(path / "sbin" / "rabbitmq-server")
    found, _ = find_installation("", None, {**NOWHERE, "RABBITMQ_HOME": str(mine)})
    assert found is not None
    assert found.home == mine
    found, _ = find_installation("", None, {"RABBITMQ_HOME": str(mine), "PATH": str(tmp_path / "bin")})
    assert found is not None
    assert found.home == path


def test_a_place_that_this_user_may_not_look_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server(tmp_path / "opt", "4.1.0")
    closed = server(tmp_path / "rabbitmq_server-4.2.0", "4.2.0") / "sbin" / "rabbitmq-server"
    plain = Path.is_file

    def is_file(path: Path) -> bool:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    found, looked = find_installation("", None, NOWHERE)
    assert found is not None
    assert found.version == "4.1.0"
    assert looked == [f"{closed.parent.parent} (Permission denied)"]


def test_versions_before_a_release(tmp_path: Path) -> None:
    home = server(tmp_path / "opt", "4.1.0-rc.2")
    (home / "plugins" / "ra-2.14.0").mkdir()
    found, _ = find_installation("", "4.1", NOWHERE)
    assert found is not None
    assert found.version == "4.1.0-rc.2"
    assert set(plugins_in(home)) == {"rabbit", "rabbit_common", "ra"}
    assert numbers("3.9.29") < numbers("3.10.8") < numbers("4.1.0")


# --- what a broker needs


def plugin(home: Path, name: str, text: str) -> None:
    ebin = home / "plugins" / name / "ebin"
    ebin.mkdir(parents=True)
    (ebin / f"{name.partition('-')[0]}.app").write_text(text)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, needs in {
        "rabbit-3.10.8": "kernel,ra",
        "ra-2.2.0": "aten",
        "aten-0.5.8": "kernel",
        "recon-2.5.2": "kernel",
    }.items():
        plugin(tmp_path, name, f"{{application, x, [{{applications,\n [{needs}]}}, {{env, [{{recon, 1}}]}}]}}.")
    (tmp_path / "plugins" / "README").touch()
    (tmp_path / "plugins" / "packed-1.0.ez").touch()
    return tmp_path


def test_what_is_needed_is_found_by_what_each_says(home: Path) -> None:
    assert needed(plugins_in(home), []) == {"rabbit", "ra", "aten"}
    assert needed(plugins_in(home), ["recon", "rabbitmq_of_nobody"]) == {"rabbit", "ra", "aten", "recon"}


@pytest.mark.parametrize("text", ["", "{application, x, []}.", "{applications, x}"])
def test_where_one_cannot_be_asked_nobody_knows(home: Path, text: str) -> None:
    (home / "plugins" / "ra-2.2.0" / "ebin" / "ra.app").write_text(text)
    assert needed(plugins_in(home), []) is None


def test_a_packed_one_that_is_torn_cannot_be_asked(home: Path) -> None:
    assert needed(plugins_in(home), ["packed"]) is None
    assert applications(home / "missing", "missing") is None


def test_a_packed_one_is_asked_as_any_other(home: Path) -> None:
    with zipfile.ZipFile(home / "plugins" / "packed-1.0.ez", "w") as archive:
        archive.writestr("packed-1.0/ebin/other.app", "{applications, [kernel]}")
    assert needed(plugins_in(home), ["packed"]) is None, "it has no resource file"
    with zipfile.ZipFile(home / "plugins" / "packed-1.0.ez", "w") as archive:
        archive.writestr("packed-1.0/ebin/packed.app", "{applications, [kernel, recon]}")
    assert needed(plugins_in(home), ["packed"]) == {"rabbit", "ra", "aten", "packed", "recon"}


def test_plugins_of_others_are_found_where_packages_look_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, others = tmp_path / "lib" / "home", tmp_path / "plugins"
    for path in (home / "plugins" / "rabbit-4.3.0-rc.1", others / "rabbitmq_delayed_message_exchange-v3.13.0.ez"):
        path.mkdir(parents=True)
    monkeypatch.setattr(installation, "PLUGINS_OF_OTHERS", {str(tmp_path): str(others), "/nowhere": str(others)})
    found = Installation(home=home, version="4.3.0-rc.1")
    assert found.folders == [home / "plugins", others]
    assert set(found.plugins()) == {"rabbit", "rabbitmq_delayed_message_exchange"}


def test_of_two_versions_the_newer_counts(home: Path) -> None:
    plugin(home, "ra-10.0.0", "{applications, []}")
    assert plugins_in(home)["ra"].name == "ra-10.0.0"
    assert needed(plugins_in(home), []) == {"rabbit", "ra"}


def test_the_closure_on_this_machine_holds_itself() -> None:
    """All that what is kept needs is kept, or is one of Erlang's own."""
    if REAL is None:
        pytest.skip("broker-local: no rabbitmq-server on this machine")
    plugins = plugins_in(REAL.home)
    keep = needed(plugins, ["rabbitmq_management"])
    assert keep is not None
    assert {"rabbit", "rabbitmq_management", "cowboy"} <= keep < set(plugins)
    for name in keep:
        assert set(applications(plugins[name], name) or ()) & set(plugins) <= keep
