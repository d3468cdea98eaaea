"""What is installed is read once, and is the same as without that."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installed import read_once

Look = importlib.metadata.DistributionFinder.Context


def anew(**context: list[str]) -> Iterator[importlib.metadata.Distribution]:
    """Look as the standard library does."""
    yield from importlib.metadata.MetadataPathFinder().find_distributions(Look(**context))


def entry_points() -> list[str]:
    return [str(point) for each in importlib.metadata.distributions() for point in each.entry_points]


def test_the_same_as_each_time_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", anew)
    before = entry_points()
    assert "pytest_testbed.plugin" in str(before)
    read_once()
    assert entry_points() == before

    again = importlib.metadata.PathDistribution
    monkeypatch.setattr(again, "read_text", lambda self, name: pytest.fail(f"{name} is read again"))
    assert entry_points() == before


def test_a_folder_that_comes_later_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", anew)
    read_once()
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "thing-1.dist-info"
    folder.mkdir()
    folder.joinpath("entry_points.txt").write_text("[pytest11]\nthing = a_plugin\n")
    assert "a_plugin" in entry_points()[0]
