"""Where the shop's services are: read from the environment, once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Addresses of what the shop talks to."""

    database_url: str
    rabbitmq_url: str
    smtp_host: str
    smtp_port: int
    inventory_url: str
    payment_url: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; what is not said is where a developer's machine has it."""
        return cls(
            database_url=environ.get("DATABASE_URL", "postgresql+psycopg2://shop@localhost/shop"),
            rabbitmq_url=environ.get("RABBITMQ_URL", "amqp://localhost/%2F"),
            smtp_host=environ.get("SMTP_HOST", "localhost"),
            smtp_port=int(environ.get("SMTP_PORT", "25")),
            inventory_url=environ.get("INVENTORY_URL", "http://localhost:8080"),
            payment_url=environ.get("PAYMENT_URL", "https://api.payment-gateway.com"),
        )
