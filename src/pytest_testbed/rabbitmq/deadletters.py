"""Where a broker leads what is dead-lettered from a queue.

Source: RabbitMQ's dead letter exchanges: arguments of the queue, or the policy that counts for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["reachable", "route"]


def route(queue: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> tuple[str | None, str]:
    """Return the dead letter exchange of a queue, None where it has none, and the routing key, "" for the message's own."""
    arguments = queue.get("arguments", {})
    policy = policy_of(queue, policies)
    exchange = arguments.get("x-dead-letter-exchange", policy.get("dead-letter-exchange"))
    return exchange, str(arguments.get("x-dead-letter-routing-key", policy.get("dead-letter-routing-key", "")))


def policy_of(queue: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the definition of the policy that counts for a queue: of those that fit, the one of the highest priority."""
    kinds = ("all", "queues", f"{queue.get('arguments', {}).get('x-queue-type', 'classic')}_queues")
    fitting = [each for each in policies if each.get("apply-to") in kinds and re.search(each["pattern"], queue["name"])]
    best = max(fitting, key=lambda each: int(each.get("priority", 0)), default=None)
    definition: Mapping[str, Any] = {} if best is None else best["definition"]
    return definition


def reachable(bindings: Sequence[Mapping[str, Any]], exchange: str) -> list[str]:
    """Return the queues to which an exchange may lead, by whatever key, through other exchanges as well."""
    seen, todo, queues = {exchange}, [exchange], set()
    while todo:
        source = todo.pop()
        for each in bindings:
            if each["source"] != source:
                continue
            if each["destination_type"] == "queue":
                queues.add(str(each["destination"]))
            elif each["destination"] not in seen:
                seen.add(each["destination"])
                todo.append(each["destination"])
    return sorted(queues)
