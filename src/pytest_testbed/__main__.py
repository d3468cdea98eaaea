"""`python -m pytest_testbed`: see what runs, end it, and clear up."""

from .commands.line import main

if __name__ == "__main__":
    raise SystemExit(main())
