"""Files for tests: a directory of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..plugin import plain_errors
from ..settings import Section, option

if TYPE_CHECKING:
    from ..files.workdir import WorkDir


class FileSettings(Section, prefix=""):
    """Options of files."""

    update_golden: bool = option(False, flag=True, help="Write what tests compare with a golden tree as the new golden tree.")


SECTION = FileSettings


@pytest.fixture
def workdir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkDir]:
    """A directory of this test's own: `write`, `age`, `expect`, `assert_matches`; its tree is shown where the test fails."""
    from ..workdirs import workdir_of

    with plain_errors(request.config), workdir_of(request.node, tmp_path) as workdir:
        yield workdir
