"""A suite that has no database is green with the lines that `init` suggests, and nothing else.

docs/how-to/init.md does the same with another one.
"""

from __future__ import annotations

import pytest

from tests.conftest import QUIET, Servers, options_for
from tests.init_projects import FLASK, lay, paste

pytest.importorskip("flask_sqlalchemy")


def test_red_becomes_green(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    lay(pytester.path, FLASK)
    options = (*QUIET, "-p", "no:django", *options_for(servers.any_local()), "--rootdir", str(pytester.path))

    pytester.syspathinsert()
    before = pytester.runpytest_inprocess(*options)
    paste(pytester.path)
    after = pytester.runpytest_inprocess(*options)

    assert before.parseoutcomes().get("passed", 0) == 0
    after.assert_outcomes(passed=2)
