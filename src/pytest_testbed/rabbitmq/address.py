"""The address of a worker's virtual host as applications know it, stable for the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import ConfigurationError
from ..services.client import Testbed
from ..services.doorway import Doorway

__all__ = ["FORMS", "VhostAddress"]

FORMS = ("url", "host", "port", "user", "password", "vhost")


class VhostAddress:
    """A port on loopback that leads to one virtual host.

    Args:
        vhost: its name.
        url: that of a broker which is not ours; "" for one that is.
    """

    kind = "rabbitmq"

    def __init__(self, vhost: str, url: str = "") -> None:
        self.vhost = vhost
        self.user, self.password = "testbed", os.urandom(12).hex()
        if url.startswith("amqps:"):
            raise ConfigurationError(
                "the address of a broker with TLS cannot be exported: applications reach it by 127.0.0.1, which its certificate "
                "does not name. Say amqp:// in testbed_rabbitmq_url, or leave the line out of testbed_env."
            )
        self.doorway = Doorway()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a `RabbitVisit` needs to know."""
        return {"user": self.user, "password": self.password, "vhost": self.vhost}

    def open(self, testbed: Testbed) -> None:
        """Let the host of a run hold the port from now on."""
        self.doorway.hand_over(testbed, self.kind, self.facts)

    def settle(self) -> None:
        """Note that nothing more will be imported before the tests."""

    def form(self, name: str) -> str:
        """Return one of the forms that the part exports, such as "url" or "port".

        Raises:
            KeyError: there is no such form.
        """
        forms = {
            "url": f"amqp://{self.user}:{self.password}@{self.doorway.host}:{self.doorway.port}/{quote(self.vhost, safe='')}",
            "host": self.doorway.host,
            "port": str(self.doorway.port),
            "user": self.user,
            "password": self.password,
            "vhost": self.vhost,
        }
        return forms[name]
