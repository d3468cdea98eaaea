"""pytest's side of files: the directory of a test, shown where the test fails; golden trees are written where that is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .captured_http import show_also
from .files.report import captured
from .files.workdir import WorkDir
from .plugin import is_worker, run_of
from .plugins.files import FileSettings
from .settings import SETTINGS

if TYPE_CHECKING:
    from .files.updates import Updates

__all__ = ["refuse_in_ci", "workdir_of"]

LEDGER = "testbed-golden"
"""A file in the run's temporary directory: which golden trees were written."""


def refuse_in_ci(config: pytest.Config) -> None:
    """Refuse to write golden trees where only a file or the environment says so, and CI would see every comparison pass.

    Raises:
        pytest.UsageError: says where it was said.
    """
    if any("testbed-update-golden" in word or "testbed_update_golden" in word for word in config.invocation_params.args):
        return
    source = config.stash[SETTINGS].source(FileSettings, "update_golden")
    if source == "the command line":  # nobody has typed it there
        source = "addopts, or PYTEST_ADDOPTS"
    raise pytest.UsageError(
        f"testbed_update_golden = true (from {source}) would let every comparison with a golden tree pass here (CI is set). "
        "Take it away from there; where CI is to write golden trees, give it --testbed-update-golden on the command line."
    )


@contextmanager
def workdir_of(request: pytest.FixtureRequest, parent: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkDir]:
    """Give a test its directory, a new one in its temporary directory."""
    # by pytest's own way the tests' `monkeypatch.chdir` goes back to where the test began, and not into the directory
    item = request.node
    path = _new_folder(Path(parent))
    bases = (item.path.parent, item.config.rootpath)
    workdir = WorkDir(path, bases, item.nodeid, _updates(request), monkeypatch.chdir)
    show_also(item, "Captured workdir", lambda: captured(path))
    try:
        yield workdir
    finally:
        workdir.close()


def _new_folder(parent: Path) -> Path:
    """Make a folder that is empty also where a `tmp_path` of the user's own is the same for each test."""
    number = 0
    while True:
        path = parent / f"workdir{number or ''}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def _updates(request: pytest.FixtureRequest) -> Updates | None:
    config = request.config
    if not config.stash[SETTINGS][FileSettings].update_golden:
        return None
    from .files.updates import Updates

    item = request.node
    base: Path = request.getfixturevalue("tmp_path_factory").getbasetemp()
    # each of xdist's workers has a folder of its own, in one that all of them know
    shared = base.parent if is_worker(config) else base
    tell = run_of(config).notices.append
    return Updates(config.rootpath, shared / LEDGER, Path(os.fspath(item.path)), item.nodeid, tell)
