"""The queue of orders: who places one publishes it, a worker consumes it. The queues themselves are in `queues.json`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from .workflow import Outcome, PaymentPending, UnknownOrder

ORDERS, LATER, PROCESSED = "orders", "orders.later", "orders.processed"
TIMEOUT, PAUSE = 10, 60
log = logging.getLogger(__name__)


class QueueError(Exception):
    """The broker cannot be reached, or has not taken an order."""


class OrderQueue:
    """Publishes orders.

    Args:
        url: the broker's.
        timeout: seconds for each step; a broker that is short of memory or disk takes connections, and no message.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self._url, self._timeout = url, timeout

    def publish(self, order_id: int) -> None:
        """Hand an order on to the worker; returns when the broker has it.

        Raises:
            QueueError: it does not have it, or nobody knows.
        """
        parameters = pika.URLParameters(self._url)
        parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = self._timeout
        try:
            with pika.BlockingConnection(parameters) as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                channel.basic_publish("", ORDERS, json.dumps({"orderId": order_id}), mandatory=True)
        except (AMQPError, AMQPConnectorException, OSError) as error:  # pika has two families; a look-up's error is as it is
            raise QueueError(repr(error)) from error


class OrderWorker:
    """Takes orders from the queue, one at a time, and tells what has become of them.

    Args:
        url: the broker's.
        process: what is done with an order, given its id.
        pause: seconds until an order whose payment is pending comes again, as often as it takes. `LATER` has it meanwhile.
    """

    def __init__(self, url: str, process: Callable[[int], Outcome], pause: float = PAUSE) -> None:
        self._process, self._later = process, pika.BasicProperties(expiration=str(int(pause * 1000)))
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()  # an order is taken off the queue only when the broker has what became of it
        self._channel.basic_qos(prefetch_count=1)
        self._channel.basic_consume(ORDERS, self._on_order)

    def run(self) -> None:
        """Work until `stop` is called."""
        self._channel.start_consuming()
        self._connection.close()

    def stop(self) -> None:
        """End `run`; for another thread, or a signal."""
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)

    def _on_order(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        try:
            outcome = self._process(order_id_of(body))
        except (InvalidMessage, UnknownOrder):
            log.exception("%r is no order: it goes to the dead letters", body)
            channel.basic_reject(method.delivery_tag, requeue=False)
        except PaymentPending:
            channel.basic_publish("", LATER, body, self._later, mandatory=True)
            channel.basic_ack(method.delivery_tag)
        except Exception:  # a service is out of order: once more, then to the dead letters, from where it can go on
            log.exception("%r could not be processed", body)
            channel.basic_reject(method.delivery_tag, requeue=not method.redelivered)
        else:
            channel.basic_publish("", PROCESSED, json.dumps({"orderId": outcome.order_id, "status": outcome.status}))
            channel.basic_ack(method.delivery_tag)


class InvalidMessage(Exception):
    """What came is no order: it would be none the next time, either."""


def order_id_of(body: bytes) -> int:
    """Return the order that a message is about.

    Raises:
        InvalidMessage: it is about none.
    """
    try:
        order_id = json.loads(body)["orderId"]
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidMessage from error
    if type(order_id) is not int:
        raise InvalidMessage
    return order_id
