"""Frozen records: what they share with dataclasses."""

from __future__ import annotations

import pytest

from pytest_testbed.services.model import ContainerRecipe, Endpoint, ProcessRecipe, Refusal, ServiceSpec
from pytest_testbed.services.record import as_data, changed, record


@record(frozen=True, kw_only=True)
class Point:
    x: int
    y: int = 2
    _hidden = ("y",)


def test_defaults_equality_hash_and_repr() -> None:
    assert Point(x=1) == Point(x=1, y=2)
    assert hash(Point(x=1)) == hash(Point(x=1, y=2))
    assert Point(x=1) != Point(x=2)
    assert repr(Point(x=1)) == "Point(x=1)", "a hidden field is not shown"


@pytest.mark.parametrize("given", [{}, {"x": 1, "z": 3}])
def test_missing_and_unknown_fields(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="missing or unknown fields: [xz]"):
        Point(**given)


def test_positional_only_where_allowed() -> None:
    assert Refusal("why", "what to do").remedy == "what to do"
    with pytest.raises(TypeError, match="0 positional"):
        Point(1)  # type: ignore[misc]
    with pytest.raises(TypeError, match="2 positional"):
        Refusal("a", "b", "c")  # type: ignore[call-arg]


def test_frozen() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="'x' cannot be set"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'x' cannot be deleted"):
        del point.x
    assert changed(point, {"x": 5}) == Point(x=5)


def test_specs_and_endpoints_cross_as_json() -> None:
    spec = ServiceSpec(
        kind="k", probe="m:f", container=ContainerRecipe(image="i", port=1, command=("a",)), process=ProcessRecipe(recipe="m:C")
    )
    assert as_data(spec)["container"]["command"] == ["a"]
    back = ServiceSpec.from_json(spec.to_json())
    assert (back.container.image, back.process.recipe) == ("i", "m:C") if back.container and back.process else False
    endpoint = Endpoint(kind="k", host="h", port=1, password="secret")
    assert Endpoint.from_json(endpoint.to_json()) == endpoint
    assert "secret" not in repr(endpoint)
