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
        return int(_field(self._call("GET", f"{product_id}"), "stock"))

    def reserve(self, product_id: int, quantity: int) -> str:
        """Have some of a product put aside; return the reservation's id.

        Raises:
            OutOfStock: there are not so many.
            InventoryError: the service did not answer, or with an error. It may have put them aside all the same.
        """
        answer = self._call("POST", f"{product_id}/reserve", {"quantity": quantity}, conflict=OutOfStock)
        return str(_field(answer, "reservationId"))

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

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, conflict: type[Exception] = InventoryError
    ) -> object:
        try:
            answer = requests.request(method, f"{self._url}/{path}", json=body, timeout=self._timeout)
            if answer.status_code == requests.codes.conflict:
                raise conflict(path)
            answer.raise_for_status()
            return answer.json() if answer.content else None
        except requests.RequestException as error:
            raise InventoryError(str(error)) from error


def _field(answer: object, name: str) -> Any:
    """Return a field of an answer."""
    if not isinstance(answer, dict) or answer.get(name) is None:
        raise InventoryError(f"an answer without {name}: {answer!r}")
    return answer[name]
