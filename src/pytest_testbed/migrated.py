"""A plugin of runs with pytest-django in which its migrations are an entry of the schema: nothing is left to set up."""

from __future__ import annotations

import pytest

from .plugin import plain_errors
from .plugins.postgres import ADDRESS


@pytest.fixture(scope="session")
def django_db_setup(pytestconfig: pytest.Config) -> None:
    """The database as it was made for this run; a project's own fixture of this name comes before, and may ask for it."""
    from .django import check_leads_to

    with plain_errors(pytestconfig):
        check_leads_to(*map(pytestconfig.stash[ADDRESS].form, ("host", "port", "database")))
