"""Where things may lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_testbed.services import places


def test_private_directory_is_made_for_this_user_alone(tmp_path: Path) -> None:
    made = places.private(tmp_path / "a" / "b")
    assert made is not None
    assert made.stat().st_mode & 0o777 == 0o700


def test_link_and_open_directory_and_file_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o775)
    (tmp_path / "file").write_text("")
    for name in ("link", "open", "file"):
        assert places.private(tmp_path / name) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root can make another user's directory")
def test_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    assert places.private(tmp_path / "theirs") is None


def test_cache_follows_the_users_choice_then_the_standard(tmp_path: Path) -> None:
    assert places.cache_directory(str(tmp_path / "mine")) == tmp_path / "mine"
    assert places.cache_directory("", {"XDG_CACHE_HOME": str(tmp_path / "xdg")}) == tmp_path / "xdg" / "pytest-testbed"
    (tmp_path / "bad").write_text("")
    assert places.cache_directory(str(tmp_path / "bad" / "below")) is None, "a choice that cannot be used is not passed over"


def test_state_falls_back_to_a_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(places, "shared_temporary", lambda: tmp_path / "shared")
    assert places.state_directory({"XDG_STATE_HOME": str(tmp_path / "file")}) == tmp_path / "shared" / "state"


def test_no_state_without_a_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise FileNotFoundError(2, "No usable temporary directory")

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(places, "temporary", nowhere)
    assert places.state_directory({"XDG_STATE_HOME": str(tmp_path / "file")}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root can make another user's directory")
def test_state_of_another_user_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest-testbed").mkdir(mode=0o700)
    os.chown(tmp_path / "pytest-testbed", 65534, 65534)
    monkeypatch.setattr(places, "shared_temporary", lambda: tmp_path / "shared")
    assert places.state_directory({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "shared" / "state"


def test_socket_of_a_host_lies_beside_its_record() -> None:
    assert places.socket_of(Path("/state/runs"), "abc") == Path("/state/runs/abc.sock")


def test_socket_moves_where_its_path_fits(tmp_path: Path) -> None:
    assert places.socket_directory(Path("/short"), "abc", ".s.PGSQL.65535") == Path("/short/s")
    assert places.socket_directory(Path("/" + "long" * 30), "abc", ".s.PGSQL.65535") == Path("/tmp/testbed-abc")


def test_only_directories_of_runs_are_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "testbed-link").symlink_to(tmp_path / "precious")
    for name in ("precious", "testbed-link"):
        with pytest.raises(ValueError, match="left alone"):
            places.remove_tree(tmp_path / name)
    assert (tmp_path / "precious").exists()
    (tmp_path / "testbed-run" / "deep").mkdir(parents=True)
    places.remove_tree(tmp_path / "testbed-run")
    places.remove_tree(tmp_path / "testbed-run")
    assert not (tmp_path / "testbed-run").exists()
