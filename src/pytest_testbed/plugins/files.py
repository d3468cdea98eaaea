"""Files for tests: a directory of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..plugin import is_worker, plain_errors
from ..settings import SETTINGS, Section, option

if TYPE_CHECKING:
    from ..files.workdir import WorkDir


class FileSettings(Section, prefix=""):
    """Options of files."""

    update_golden: bool = option(
        False, flag=True, help="Write what tests compare with a golden tree as the new golden tree, instead of comparing."
    )


SECTION = FileSettings


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to let every comparison pass under CI, but where the command line wants it."""
    if SETTINGS not in config.stash or not config.stash[SETTINGS][FileSettings].update_golden:
        return
    if os.environ.get("CI") and not is_worker(config):
        from ..workdirs import refuse_in_ci

        refuse_in_ci(config)


@pytest.fixture
def workdir(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkDir]:
    """An empty directory for this test, with helpers to write, wait for and compare files.

    It is in the test's `tmp_path`, and stands itself wherever a path is wanted; `workdir / "input.txt"` is a `Path`, as is
    `path`. Where the test fails, its tree is shown.

    See docs/how-to/files.md.
    """
    from ..workdirs import workdir_of

    with plain_errors(request.config), workdir_of(request, tmp_path, monkeypatch) as workdir:
        yield workdir
