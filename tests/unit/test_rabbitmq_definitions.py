"""What a virtual host has, compared: what tests begin with, and who has added what to it."""

from __future__ import annotations

from typing import Any

from pytest_testbed.rabbitmq.definitions import Baseline, difference, identity


def queue(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "durable": True, **more}


def having(*names: str) -> dict[str, Any]:
    return {"queues": [queue(name) for name in names]}


def names(definitions: dict[str, Any]) -> list[str]:
    return sorted(each["name"] for each in definitions["queues"])


def test_the_order_of_arguments_makes_no_difference() -> None:
    """What is put back comes with its arguments in another one."""
    one = {"source": "a", "destination": "b", "destination_type": "queue", "routing_key": "", "arguments": {"x": 1, "y": 2}}
    other = {**one, "arguments": {"y": 2, "x": 1}}
    assert identity(one, "bindings") == identity(other, "bindings")
    assert difference({"bindings": [one]}, {"bindings": [other]})[0]["bindings"] == []
    assert identity(one, "bindings") != identity({**one, "arguments": {"x": 1}}, "bindings")
    assert identity(one, "bindings") != identity({**one, "destination_type": "exchange"}, "bindings")


def test_what_was_changed_is_both_added_and_missing() -> None:
    before, now = (
        {"queues": [queue("a"), queue("b"), queue("c")]},
        {"queues": [queue("a"), queue("b", durable=False), queue("d")]},
    )
    added, missing = difference(now, before)
    assert (names(added), names(missing)) == (["b", "d"], ["b", "c"])
    assert added["exchanges"] == missing["bindings"] == []


def test_layers_need_not_end_in_their_order() -> None:
    baseline = Baseline(having("first"))
    assert baseline.add(1, having("first"), having("first", "one"))
    assert baseline.add(2, having("first", "one"), having("first", "one", "two"))
    assert names(baseline.definitions) == ["first", "one", "two"]
    assert baseline.drop(1)
    assert names(baseline.definitions) == ["first", "two"]
    assert not baseline.drop(1)
    assert baseline.drop(2)
    assert baseline.definitions["queues"] == [queue("first")]


def test_what_a_layer_has_deleted_or_changed_is_back_after_it() -> None:
    baseline = Baseline(having("a", "b"))
    baseline.add(1, having("a", "b"), {"queues": [queue("b", durable=False)]})
    assert baseline.definitions["queues"] == [queue("b", durable=False)]
    baseline.drop(1)
    assert names(baseline.definitions) == ["a", "b"]


def test_what_somebody_has_added_within_is_his() -> None:
    """One that asks for another may end before it."""
    baseline = Baseline(having())
    before = baseline.layers
    baseline.add(1, having(), having("inner"))
    baseline.add(2, having(), having("inner", "outer"), baseline.layers - before)
    baseline.drop(2)
    assert names(baseline.definitions) == ["inner"]
    baseline.add(3, having("inner"), {"queues": [queue("inner", durable=False)]}, ())
    baseline.drop(1)
    assert baseline.definitions["queues"] == [queue("inner", durable=False)]


def test_who_has_changed_nothing_is_no_layer() -> None:
    baseline = Baseline(having("a"))
    assert not baseline.add(1, having("a"), having("a"))
    assert baseline.layers == set()
