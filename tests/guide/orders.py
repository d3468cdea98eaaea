"""An application that takes orders from a queue: what the guide's messaging chapter tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pika

ORDERS, DONE, DEAD = "orders", "orders.done", "orders.dead"
TOPOLOGY: Mapping[str, Any] = {
    "exchanges": [{"name": "orders.rejected", "type": "fanout"}],
    "queues": [
        {"name": ORDERS, "arguments": {"x-dead-letter-exchange": "orders.rejected"}},
        {"name": DONE},
        {"name": DEAD},
    ],
    "bindings": [{"source": "orders.rejected", "destination": DEAD}],
}


class BadOrder(Exception):
    """An order that can never be processed."""


class OutOfStock(Exception):
    """An order that may be processed later."""


@dataclass
class ProcessedOrder:
    """What becomes of an order."""

    order_id: str
    status: str


class OrderProcessor:
    """Processes one order."""

    def process_order(self, order: Mapping[str, Any]) -> ProcessedOrder:
        """Return what becomes of it.

        Raises:
            BadOrder: it has no quantity that anybody could deliver.
        """
        if not isinstance(order.get("quantity"), int) or order["quantity"] < 1:
            raise BadOrder(order.get("orderId"))
        return ProcessedOrder(str(order["orderId"]), "PROCESSED")


class OrderWorker:
    """Takes orders from the queue, in a thread of its own, until it is stopped.

    Args:
        url: the broker's.
        process: what is done with an order; None: what `OrderProcessor` does.
        prefetch: orders that it holds at most.
        name: said with what is done.
    """

    def __init__(
        self,
        url: str,
        process: Callable[[Mapping[str, Any]], ProcessedOrder] | None = None,
        *,
        prefetch: int = 1,
        name: str = "worker",
    ) -> None:
        self._process, self._name = process or OrderProcessor().process_order, name
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.basic_qos(prefetch_count=prefetch)
        self._thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        self._channel.basic_consume(ORDERS, self._on_order)
        self._channel.start_consuming()
        self._connection.close()

    def _on_order(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        try:
            done = self._process(json.loads(body))
        except BadOrder:
            channel.basic_reject(method.delivery_tag, requeue=False)
        except OutOfStock:
            channel.basic_reject(method.delivery_tag, requeue=True)
        else:
            answer = {"orderId": done.order_id, "status": done.status, "by": self._name}
            channel.basic_publish("", DONE, json.dumps(answer))
            channel.basic_ack(method.delivery_tag)

    def __enter__(self) -> OrderWorker:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join()
