"""The inventory service: another program, which knows what lies in the warehouse."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import requests

TIMEOUT = 5
log = logging.getLogger(__name__)


class OutOfStock(Exception):
    """There is less of a product than was ordered."""


class InventoryError(Exception):
    """The inventory service cannot be reached, or does not know what to say."""


class InventoryClient:
    """Asks the inventory service."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self._url, self._timeout = f"{url}/api/inventory", timeout

    def stock(self, product_id: int) -> int:
        """Return how many there are of a product."""
        return int(self._call("GET", f"{product_id}")["stock"])

    def reserve(self, product_id: int, quantity: int) -> str:
        """Have some of a product put aside; return the reservation's id.

        Raises:
            OutOfStock: there are not so many.
            InventoryError: the service did not answer, or with an error.
        """
        return str(self._call("POST", f"{product_id}/reserve", {"quantity": quantity})["reservationId"])

    def release(self, reservation_id: str) -> None:
        """Have put back what was put aside."""
        self._call("DELETE", f"reservations/{reservation_id}")

    def release_all(self, reservation_ids: Iterable[str | None]) -> None:
        """Have all of them put back; one that fails is logged, and keeps none of the others."""
        for reservation_id in filter(None, reservation_ids):
            try:
                self.release(reservation_id)
            except InventoryError as error:
                log.warning("reservation %s was not released: %s", reservation_id, error)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = requests.request(method, f"{self._url}/{path}", json=body, timeout=self._timeout)
            if answer.status_code == requests.codes.conflict:
                raise OutOfStock(path)
            answer.raise_for_status()
            return dict(answer.json()) if answer.content else {}
        except requests.RequestException as error:
            raise InventoryError(str(error)) from error
