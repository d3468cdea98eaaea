"""Which cases of parametrised tests are run where there is no time for all."""

from __future__ import annotations

from tests.cases import chosen

NAMES = [f"tests/test_it.py::test_{test}[{driver}-{provider}]" for test in range(40) for driver in "ab" for provider in "xyz"]
ALONE = "tests/test_it.py::TestIt::test_alone"


def test_one_and_the_others_are_all() -> None:
    names = [*NAMES, ALONE]
    one, others = chosen(names, "one"), chosen(names, "others")

    assert chosen(names, "all") == set(names)
    assert one | others == set(names)
    assert not one & others
    assert len(one) == 41
    assert ALONE in one
    assert {name.partition("[")[0] for name in one} == {name.partition("[")[0] for name in names}


def test_each_value_of_a_parameter_has_its_share() -> None:
    found = [name.partition("[")[2] for name in chosen(NAMES, "one")]

    assert all(sum(value in each for each in found) >= 8 for value in "abxyz")


def test_it_is_the_same_in_any_order() -> None:
    assert chosen(reversed(NAMES), "one") == chosen(NAMES, "one")
