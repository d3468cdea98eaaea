"""Mail for tests: an SMTP server on a real port that keeps what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ..plugin import plain_errors

if TYPE_CHECKING:
    from ..mail.mailbox import Mailbox
    from ..mailboxes import MailAddress
    from ..session import Run

EXPORTS = {"mail": ("host", "port", "address")}
"""What `testbed_env` can say of this part."""


def export_address(config: pytest.Config, run: Run, prefix: str) -> MailAddress:
    """Give this process's SMTP server its port, for the whole run."""
    from ..mailboxes import exported

    return exported(config)


@pytest.fixture
def mailbox(request: pytest.FixtureRequest) -> Iterator[Mailbox]:
    """An SMTP server for this test: send mail to its `address`, wait for it with `expect(to=…)`.

    It listens on a port of this machine, and has nothing in it when the test begins. It needs the extra `mail`.

    See docs/how-to/mail.md.
    """
    from ..mailboxes import mailbox_of

    with plain_errors(request.config), mailbox_of(request.node) as mailbox:
        yield mailbox
