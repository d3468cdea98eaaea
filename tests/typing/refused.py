"""What a type checker must refuse: every line with a comment `# error: CODE` (see test_typing.py)."""

from __future__ import annotations

from pytest_testbed import Endpoint, ServiceSpec, Testbed


def test_face(testbed: Testbed, pg_service: Endpoint) -> None:
    testbed.endpoint(1)  # error: arg-type
    testbed.endpont("postgres")  # error: attr-defined
    pg_service.port = 1  # error: misc
    number: int = pg_service.host  # error: assignment
    assert number
    ServiceSpec("kafka", "my.code:probe")  # error: call-arg
    ServiceSpec(kind="kafka")  # error: call-arg
