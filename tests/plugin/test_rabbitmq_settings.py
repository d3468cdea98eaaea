"""Options of RabbitMQ: a bad one ends the run at once, with option, value, source and the nearest right one."""

from __future__ import annotations

import json

import pytest

from .conftest import Project

DEFINITIONS = "testbed_rabbitmq_definitions"
GOOD = {"queues": [{"name": "orders"}]}


@pytest.fixture(autouse=True)
def one_test(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RABBITMQ_URL", raising=False)
    project.write(test_it="def test_it(): pass")


def usage_error(project: Project, *args: str) -> str:
    """Return the one error that pytest prints instead of running."""
    result = project.run(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.no_fnmatch_line("*Traceback*")
    return "\n".join(line.removeprefix("ERROR: ") for line in result.errlines if line)


# --- definitions


def test_files_of_definitions_are_read_from_the_root(project: Project) -> None:
    project.path.joinpath("one.json").write_text(json.dumps(GOOD))
    project.path.joinpath("two.json").write_text(json.dumps({"exchanges": [{"name": "shop"}]}))
    project.path.joinpath("pytest.ini").write_text(f"[pytest]\n{DEFINITIONS} =\n    one.json\n    two.json\n")
    project.write(
        conftest="""
        import pytest
        from pytest_testbed.plugins.rabbitmq import definitions

        @pytest.fixture
        def found(request):
            return definitions(request.config)
        """,
        test_it="""
        def test_it(found):
            assert [each["name"] for each in found["queues"]] == ["orders"]
            assert found["queues"][0]["durable"] is True
            assert [each["name"] for each in found["exchanges"]] == ["shop"]
        """,
    )
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "/d.json cannot be read as definitions: [Errno 2] No such file or directory"),
        ("queues: [orders]", "/d.json is no JSON: Expecting value: line 1 column 1 (char 0). Definitions come from"),
        ('["orders"]', "/d.json: definitions are an object with keys such as queues and exchanges, not ['orders']."),
        ('{"queus": []}', "/d.json: 'queus' is not a key of definitions; did you mean 'queues'?"),
        (
            '{"queues": [{"name": "a"}, {"name": "b", "durible": false}]}',
            "/d.json: queues[1]: 'durible' is not a key of queues; did you mean 'durable'?",
        ),
        (
            '{"queues": [{"name": "a", "vhost": "/"}, {"name": "a", "vhost": "shop"}]}',
            "/d.json: the definitions are of several virtual hosts (/, shop); a test has one.",
        ),
    ],
)
def test_definitions_that_are_wrong(project: Project, content: str | None, wrong: str) -> None:
    project.path.joinpath("good.json").write_text(json.dumps(GOOD))
    if content is not None:
        project.path.joinpath("d.json").write_text(content)
    project.path.joinpath("pytest.ini").write_text(f"[pytest]\n{DEFINITIONS} =\n    good.json\n    d.json\n")
    error = usage_error(project)
    assert error.startswith(f"{DEFINITIONS} (from pytest.ini): {project.path}")
    assert wrong in error


@pytest.mark.parametrize(
    ("place", "said"), [("-o", "-o on the command line"), ("environment", "environment TESTBED_RABBITMQ_DEFINITIONS")]
)
def test_their_source_is_named(project: Project, monkeypatch: pytest.MonkeyPatch, place: str, said: str) -> None:
    args = ["-o", f"{DEFINITIONS}=d.json"] if place == "-o" else []
    if not args:
        monkeypatch.setenv("TESTBED_RABBITMQ_DEFINITIONS", "d.json")
    assert usage_error(project, *args).startswith(f"{DEFINITIONS} (from {said}): {project.path}/d.json cannot be read")


# --- all others


@pytest.mark.parametrize(
    ("name", "value", "shown", "wrong"),
    [
        ("version", "four", "four", "is not a version such as 17 or 17.2."),
        ("version", "3.x", "3.x", "is not a version such as 17 or 17.2."),
        ("url", "http://localhost:15672", "http://localhost:15672", "does not begin with amqp:// or amqps://."),
        ("url", "localhost:5672", "***", "does not begin with amqp:// or amqps://."),
        (
            "url",
            "amqp://me:s3cret@h/a/b",
            "amqp://me:***@h/a/b",
            "cannot be used: the virtual host 'a/b' must be encoded: a%2Fb.",
        ),
        ("url", "amqp://me:s3cret@h:port", "amqp://me:***@h:port", "cannot be used: it must be like amqp://user:password@host"),
        ("management_url", "localhost:15672", "***", "does not begin with http:// or https://."),
        ("management_url", "amqp://localhost", "amqp://localhost", "does not begin with http:// or https://."),
        ("management_url", "http://", "http://", "is not of the form http://host:15672."),
        ("management_url", "https://h:port", "https://h:port", "is not of the form http://host:15672."),
        ("management_url", "http://me:s3cret@h", "http://me:***@h", "must not name a user: the one of testbed_rabbitmq_url logs"),
        ("plugins", "rabbitmq-stomp", ["rabbitmq-stomp"], "holds 'rabbitmq-stomp', which is no name of a plugin, such as"),
        ("plugins", "$(reboot)", ["$(reboot)"], "holds '$(reboot)', which is no name of a plugin"),
        ("plugins", "Rabbit", ["Rabbit"], "holds 'Rabbit', which is no name of a plugin"),
        ("plugins", "größe", ["größe"], "holds 'größe', which is no name of a plugin"),
        ("environment", "RABBITMQ_X", ["RABBITMQ_X"], "holds 'RABBITMQ_X', which is not of the form NAME=value."),
        ("environment", "A-B=1", ["A-B=1"], "holds 'A-B=1', which is not of the form NAME=value."),
        ("tmpfs", "big", "big", "is not a size such as 512m or 1g."),
        ("tmpfs", "m", "m", "is not a size such as 512m or 1g."),
        ("quick_boot", "maybe", "maybe", "is not true or false."),
        ("timeout", "0", 0.0, "must be above 0."),
        ("timeout", "nan", float("nan"), "must be above 0."),
        ("timeout", "soon", "soon", "is not a number."),
    ],
)
def test_a_bad_value_ends_the_run(project: Project, name: str, value: str, shown: object, wrong: str) -> None:
    project.path.joinpath("pytest.ini").write_text(f"[pytest]\ntestbed_rabbitmq_{name} = {value}\n", encoding="utf-8")
    error = usage_error(project)
    assert error.startswith(f"testbed_rabbitmq_{name} = {shown!r} (from pytest.ini) {wrong}")
    assert "s3cret" not in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "3.13"),
        ("url", "amqps://me:s3cret@h:5671/v?heartbeat=5"),
        ("management_url", "https://h/rabbit"),
        ("plugins", "rabbitmq_stomp rabbitmq_shovel"),
        ("environment", "RABBITMQ_DEFAULT_VHOST=shop"),
        ("tmpfs", ""),
        ("timeout", "1.5"),
    ],
)
def test_a_good_value_is_taken(project: Project, name: str, value: str) -> None:
    project.path.joinpath("pytest.ini").write_text(f"[pytest]\ntestbed_rabbitmq_{name} = {value}\n")
    result = project.run("-v")
    result.assert_outcomes(passed=1)
    assert "s3cret" not in result.stdout.str()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("testbed_rabbitmq_manegement_url", "testbed_rabbitmq_management_url"), ("testbed_rabbit_image", "testbed_rabbitmq_image")],
)
def test_a_misspelt_option_is_told_with_the_nearest(project: Project, key: str, nearest: str) -> None:
    project.path.joinpath("pytest.ini").write_text(f"[pytest]\n{key} = x\n")
    assert usage_error(project) == f"{key!r} (from pytest.ini) is not an option of pytest-testbed; did you mean {nearest!r}?"


@pytest.mark.parametrize(
    ("mark", "wrong"),
    [
        ('vhost="mine"', "vhost='mine'"),
        ("host='worker'", "host"),
        ("'worker'", "worker"),
    ],
)
def test_a_bad_mark_ends_the_run(project: Project, mark: str, wrong: str) -> None:
    project.write(test_it=f"import pytest\n\n@pytest.mark.rabbitmq({mark})\ndef test_it(): pass\n")
    error = usage_error(project)
    assert wrong in error
    assert "test_it.py" in error
