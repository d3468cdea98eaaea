"""What is wrong with what somebody has typed."""

from __future__ import annotations


class InvalidInput(Exception):
    """A form that cannot be taken; `errors` has what is wrong, by field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = errors
