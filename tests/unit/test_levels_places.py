"""What folders say of the tests in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.levels.places import Places, Said, mapped

ROOT = Path("/home/somebody/tests/integration/project")


def said(path: str, *roots: str, **words: str) -> Said:
    """Return what is said of a file; `words` maps levels and areas to a folder each."""
    folders = mapped([(word, {name: ROOT / name for name in names.split()}) for word, names in words.items()], "option")
    return Places(ROOT, [ROOT / each for each in roots], folders).of(ROOT / path)


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("test_a.py", ""),  # the root's own path is nobody's word
        ("tests/test_a.py", ""),
        ("tests/unit/test_a.py", "unit"),
        ("tests/integration/deep/down/test_a.py", "integration"),
        ("e2e/test_a.py", "e2e"),
        ("src/shop/tests/unit/test_a.py", "unit"),
        ("tests/integration/unit/test_a.py", "unit"),  # the innermost
        ("tests/unit/integration/test_a.py", "integration"),
        ("tests/unit.py", ""),  # no folder
        ("tests/Unit/test_a.py", ""),
        ("tests/unit_tests/test_a.py", ""),
        ("tests/functional/test_a.py", ""),
    ],
)
def test_a_folder_called_as_a_level_is_that_level(path: str, level: str) -> None:
    assert said(path).level == level


def test_it_is_known_which_folder_says_the_level() -> None:
    assert said("tests/unit/database/test_a.py").by == ROOT / "tests" / "unit"
    assert said("tests/test_a.py").by is None


@pytest.mark.parametrize(
    ("path", "areas"),
    [
        ("tests/database/test_a.py", ("database",)),
        ("tests/integration/database/test_a.py", ("database",)),
        ("integration/database/test_a.py", ("database",)),
        ("tests/integration/external/api/test_a.py", ("external", "api")),
        ("tests/api/integration/api/test_a.py", ("api",)),  # each once
        ("test/workflows/test_a.py", ("workflows",)),
        ("tests/unit/test_database.py", ()),
        # a source package is none, whatever it is called
        ("src/shop/database/test_a.py", ()),
        ("src/shop/database/tests/test_a.py", ()),
        ("api/tests/test_a.py", ()),
        ("database/integration/test_a.py", ()),
    ],
)
def test_a_folder_called_as_an_area_counts_among_tests(path: str, areas: tuple[str, ...]) -> None:
    assert said(path).areas == areas


@pytest.mark.parametrize(
    ("path", "areas"),
    [
        ("specs/database/test_a.py", ("database",)),
        ("other/database/test_a.py", ()),
        # somebody's testpaths may be a package: its folders are source, and its tests are in folders of their own
        ("specs/api/tests/test_a.py", ()),
        ("specs/api/tests/database/test_a.py", ("database",)),
        ("specs/unit/api/tests/test_a.py", ("api",)),
    ],
)
def test_a_test_root_of_the_configuration_is_one(path: str, areas: tuple[str, ...]) -> None:
    assert said(path, "specs").areas == areas


def test_a_test_root_may_be_an_area_for_itself() -> None:
    assert said("tests/database/test_a.py", "tests/database").areas == ("database",)
    assert said("specs/test_a.py", "specs").areas == ()


@pytest.mark.parametrize(
    ("path", "level", "areas"),
    [
        ("tests/functional/test_a.py", "e2e", ()),
        ("tests/functional/deep/test_a.py", "e2e", ()),
        ("tests/functional/unit/test_a.py", "unit", ()),  # the innermost, also where it is only named so
        ("tests/integration/test_a.py", "e2e", ()),  # the mapping is the last word on its own folder
        ("tests/integration/sub/test_a.py", "e2e", ()),
        ("src/shop/db/test_a.py", "", ("database",)),  # wherever it is
        ("tests/integration/db/test_a.py", "e2e", ("database", "messaging")),
        ("tests/test_one.py", "e2e", ()),  # a file
    ],
)
def test_a_mapping_says_what_names_do_not(path: str, level: str, areas: tuple[str, ...]) -> None:
    names = "tests/functional tests/integration tests/test_one.py"
    found = said(path, e2e=names, database="src/shop/db tests/integration/db", messaging="tests/integration/db")
    assert (found.level, found.areas) == (level, areas)


def test_outside_of_the_root_a_mapping_alone_counts() -> None:
    places = Places(ROOT, (), {Path("/elsewhere/checks"): ["unit"]})
    assert places.of(Path("/elsewhere/integration/tests/database/test_a.py")) == Said()
    assert places.of(Path("/elsewhere/checks/e2e/test_a.py")).level == "unit"
    assert places.of(Path("/test_a.py")) == Said()


def test_a_folder_has_one_level() -> None:
    folder = ROOT / "tests" / "more"
    with pytest.raises(ConfigurationError) as caught:
        mapped(
            [
                ("database", {"tests/more": folder}),
                ("unit", {"tests/a": ROOT / "tests/a", "tests/more": folder}),
                ("integration", {"./tests/more": folder}),
            ],
            "testbed_level_folders (from tox.ini)",
        )
    assert str(caught.value) == (
        "testbed_level_folders (from tox.ini) gives the folder './tests/more' two levels, in the lines "
        "'unit: tests/a tests/more' and 'integration: ./tests/more'; a test has one. Take it out of one of them."
    )


def test_a_folder_may_be_named_twice_for_one_level_and_for_areas() -> None:
    folder = ROOT / "more"
    lines = [(word, {"more": folder}) for word in ("unit", "unit", "api", "external")]
    assert mapped(lines, "option") == {folder: ["unit", "unit", "api", "external"]}
