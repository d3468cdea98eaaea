"""Definitions: what they leave out is filled in, an export is taken as it is, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.rabbitmq.topology import checked, read_file, read_files

QUEUE = {"name": "orders", "durable": True, "auto_delete": False, "arguments": {}}


@pytest.mark.parametrize(
    ("sort", "item", "whole"),
    [
        ("queues", {"name": "orders"}, QUEUE),
        ("queues", {"name": "orders", "type": "quorum", "durable": False}, {**QUEUE, "durable": False, "type": "quorum"}),
        (
            "exchanges",
            {"name": "shop"},
            {"name": "shop", "type": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": {}},
        ),
        (
            "bindings",
            {"source": "shop", "destination": "orders"},
            {"source": "shop", "destination": "orders", "destination_type": "queue", "routing_key": "", "arguments": {}},
        ),
        (
            "policies",
            {"name": "p", "pattern": "^o", "definition": {"max-length": 1}},
            {"name": "p", "pattern": "^o", "definition": {"max-length": 1}, "priority": 0, "apply-to": "all"},
        ),
        ("parameters", {"component": "c", "name": "n", "value": None}, {"component": "c", "name": "n", "value": None}),
    ],
)
def test_what_is_left_out_is_filled_in(sort: str, item: dict[str, Any], whole: dict[str, Any]) -> None:
    given = {sort: [item]}
    assert checked(given) == {sort: [whole]}
    assert given == {sort: [item]}, "what the test gave stays as it is"
    assert checked({sort: (item,)}) == {sort: [whole]}


@pytest.mark.parametrize("data", [{}, {"queues": []}, {"explanation": "…", "rabbit_version": "4.3.6", "limits": []}])
def test_nothing_is_definitions_as_well(data: dict[str, Any]) -> None:
    assert not any(checked(data).values())


def test_an_export_is_taken_without_what_is_not_a_virtual_host_s() -> None:
    """Of 4.3, where the broker's own exchange lies in another virtual host."""
    export = {
        "rabbit_version": "4.3.6",
        "rabbitmq_definition_format": "cluster",
        "original_cluster_name": "c",
        "explanation": "…",
        "users": [{"name": "guest"}],
        "vhosts": [{"name": "/"}, {"name": "shop"}],
        "permissions": [],
        "topic_permissions": [],
        "global_parameters": [],
        "parameters": [],
        "policies": [{"vhost": "shop", "name": "p", "pattern": ".", "apply-to": "all", "definition": {}, "priority": 0}],
        "queues": [{**QUEUE, "vhost": "shop", "type": "classic"}],
        "exchanges": [{"name": "amq.rabbitmq.log", "vhost": "/", "type": "topic", "durable": True}],
        "bindings": [],
    }
    assert checked(export) == {
        "parameters": [],
        "policies": [{"name": "p", "pattern": ".", "apply-to": "all", "definition": {}, "priority": 0}],
        "queues": [{**QUEUE, "type": "classic"}],
        "exchanges": [],
        "bindings": [],
    }
    assert checked({"exchanges": [{"name": "amq.mine"}]})["exchanges"], "the broker says what is against it"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "definitions are an object with keys such as queues and exchanges, not []."),
        ("orders", "not 'orders'."),
        (None, "not None."),
        ({"queue": []}, "'queue' is not a key of definitions; did you mean 'queues'?"),
        ({"shovels": []}, "'shovels' is not a key of definitions; there are: queues, exchanges, bindings, policies, parameters."),
        ({"queues": {"name": "orders"}}, "queues must be a list of objects, not {'name': 'orders'}."),
        ({"queues": "orders"}, "queues must be a list of objects, not 'orders'."),
        ({"queues": ["orders"]}, 'queues[0] is \'orders\'; an object is needed: {"name": "orders"}.'),
        ({"bindings": ["orders"]}, "bindings[0] must be an object, not 'orders'."),
        ({"queues": [QUEUE, 5]}, "queues[1] must be an object, not 5."),
        ({"queues": [{}]}, "queues[0] has no 'name', which each of queues needs."),
        ({"queues": [{"name": "q", "durabel": True}]}, "queues[0]: 'durabel' is not a key of queues; did you mean 'durable'?"),
        ({"queues": [{"nmae": "q"}]}, "queues[0]: 'nmae' is not a key of queues; did you mean 'name'?"),
        ({"exchanges": [{"name": "e", "x": 1}]}, "exchanges[0]: 'x' is not a key of exchanges; there are: name, type, durable"),
        ({"bindings": [{"source": "e"}]}, "bindings[0] has no 'destination', which each of bindings needs."),
        ({"policies": [{"name": "p", "pattern": "."}]}, "policies[0] has no 'definition'"),
        (
            {"queues": [{**QUEUE, "vhost": "a"}], "policies": [], "exchanges": [{"name": "e", "vhost": "b"}]},
            "the definitions are of several virtual hosts (a, b); a test has one.",
        ),
        ({"queues": [{**QUEUE, "vhost": ["a"]}, {**QUEUE, "vhost": {}}]}, "are of several virtual hosts (['a'], {});"),
    ],
)
def test_what_is_wrong_is_named(data: object, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked(data, "here")
    assert str(caught.value).startswith("here")
    assert words in str(caught.value)


# --- files


def test_several_files_are_put_together(tmp_path: Path) -> None:
    files = []
    for name, data in {"a": {"queues": [{"name": "a"}]}, "b": {"queues": [{"name": "b"}], "exchanges": [{"name": "e"}]}}.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(data))
    found = read_files(files, "an option")
    assert [each["name"] for each in found["queues"]] == ["a", "b"]
    assert [each["name"] for each in found["exchanges"]] == ["e"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read as definitions: [Errno 2]"),
        (b"\xff", "cannot be read as definitions: 'utf-8'"),
        (b"", "is no JSON: Expecting value"),
        (b"queues: []", "is no JSON: Expecting value: line 1 column 1 (char 0). Definitions come from"),
        (b'{"queues": [],}', "is no JSON: "),
        (b"[]", "definitions are an object"),
        (b'{"queus": []}', "'queus' is not a key of definitions; did you mean 'queues'?"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "d.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_files([path], "an option")
    assert str(caught.value).startswith(f"an option: {path}")
    assert words in str(caught.value)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read as definitions"):
        read_file(tmp_path)
