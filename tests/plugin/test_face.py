"""What a test gets: the fixture `testbed`, endpoints, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Project


def test_a_stranger_s_kind_is_handed_out_like_a_built_in_one(project: Project, alive: Callable[[int], bool]) -> None:
    project.kinds(alpha={"log": "one\ntwo\nthree", "says": "3.7"}, beta={})
    project.write(
        test_it="""
        import socket

        def test_face(testbed, alpha):
            assert testbed.kinds == ["alpha", "beta", "postgres", "rabbitmq"]
            assert testbed.endpoint("alpha") is alpha
            assert (alpha.kind, alpha.provider, alpha.version) == ("alpha", "fake", "3.7")
            assert alpha.url("x") == f"alpha://user:secret@127.0.0.1:{alpha.port}/x"
            assert "secret" not in repr(alpha)

        def test_it_is_really_there(alpha):
            with socket.create_connection((alpha.host, alpha.port), 5) as connection:
                assert connection.recv(10) == b"3.7\\n"

        def test_logs(testbed, alpha):
            assert testbed.logs("alpha", 2) == "two\\nthree"
            assert testbed.logs("beta") == ""
        """
    )
    project.run().assert_outcomes(passed=3)
    assert project.events == ["start alpha", "ready alpha", "stop alpha"]
    assert [alive(host.pid) for host in project.hosts] == [False]


def test_a_kind_that_nobody_registered(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(testbed): testbed.endpoint('alhpa')")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E   pytest_testbed.errors.UnknownService: no service of kind 'alhpa' is registered; known are: alpha, postgres, "
            "rabbitmq. "
            "A kind comes from the hook pytest_testbed_services of a plugin or of the conftest.py in the root directory.",
            "test_it.py:1: UnknownService",  # the user's line, not one of ours
        ]
    )


def test_a_kind_is_described_anew_by_the_conftest(project: Project) -> None:
    project.kinds(postgres={"says": "99"})
    project.write(test_it="def test_it(pg_service): assert (pg_service.provider, pg_service.version) == ('fake', '99')")
    project.run().assert_outcomes(passed=1)


def test_a_chosen_provider_is_that_of_all_kinds(project: Project) -> None:
    project.kinds(alpha={"provider": "auto"}, beta={"provider": "auto"})
    project.write(test_it="def test_it(alpha, beta): assert {alpha.provider, beta.provider} == {'fake'}")
    project.run("--testbed-provider=fake").assert_outcomes(passed=1)


def test_a_provider_that_nobody_has(project: Project) -> None:
    project.kinds(alpha={})
    result = project.run("--testbed-provider=dokcer")
    assert result.ret == 4
    assert result.stderr.str().strip() == (
        "ERROR: testbed_provider = 'dokcer' (from the command line) is not one of auto, external, docker, local, "
        "and no plugin offers it; did you mean 'docker'?"
    )
    assert project.run("--testbed-provider=fake", "--co").ret == 5


def test_a_hook_that_gives_no_specs(project: Project) -> None:
    project.write(
        conftest="""
        def pytest_testbed_services(config):
            return ["kafka"]
        """,
        test_it="def test_it(testbed): testbed.kinds",
        test_other="def test_other(): pass",
    )
    result = project.run()
    assert result.ret == 4
    assert "ERROR: the hook pytest_testbed_services must return a list of ServiceSpec, not ['kafka']." in result.stderr.str()
    project.run("test_other.py").assert_outcomes(passed=1)
    result = project.run_apart("-p", "xdist", "-n1")
    result.assert_outcomes(errors=1, passed=1)
    assert "INTERNALERROR" not in result.stdout.str()


def test_a_service_that_does_not_come_up(project: Project) -> None:
    project.kinds(
        alpha={"never": True, "timeout": 0.05, "log": "waiting for godot"}, beta={"exits": "exit code 3", "log": "no disk"}
    )
    project.write(test_it="def test_alpha(alpha): pass\ndef test_again(alpha): pass\ndef test_beta(beta): pass")
    result = project.run("-rE")
    result.assert_outcomes(errors=3)
    text = result.stdout.str()
    assert text.count("alpha (fake, pretence) was not ready within 0.05 s; the last try said: ") == 2
    assert text.count("    waiting for godot") == 1, "told whole once, and in short by the second test"
    assert text.count("(told in full by test_it.py::test_alpha)") == 1
    assert "beta (fake, pretence) ended while it was starting: exit code 3." in text
    assert "    no disk" in text
    assert project.events.count("start alpha") == 1  # the second test does not wait again
    assert project.events.count("stop alpha") == 1  # the half-started thing is removed
    assert "client.py" not in text


def test_a_service_with_another_version(project: Project) -> None:
    project.kinds(alpha={"version": "2", "says": "3.1"})
    project.write(test_it="def test_alpha(alpha): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ServiceUnavailable: alpha 2 is wanted, and fake gave 3.1 (pretence): name another *"])
