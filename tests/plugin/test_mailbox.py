"""`mailbox`: a server of the test's own, or one that applications know; whose a mail is; what a failure shows."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec

import pytest

from .conftest import Project

pytest.importorskip("aiosmtpd")

SHOP = """
import os
import smtplib
from email.message import EmailMessage


def send(where, to="ada@example.com", subject="Welcome", text="Hello", login=None):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.com", to, subject
    message.set_content(text)
    with smtplib.SMTP(*where, timeout=30) as client:
        if login:
            client.login(*login)
        client.send_message(message)


def exported():
    return os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"])
"""
STRICT = ("-q", "-W", "error")
"""Against what the suite itself is run with."""
EXPORT = """
[pytest]
testbed_env =
    SMTP_HOST={mail.host}
    SMTP_PORT={mail.port}
    SMTP_ADDRESS={mail.address}
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with a module that sends mails."""
    project.write(shop=SHOP)
    project.pytester.syspathinsert()
    return project


@pytest.fixture
def exporting(shop: Project) -> Project:
    """One whose applications know the server's address."""
    shop.pytester.makefile(".ini", pytest=EXPORT)
    return shop


def needs(package: str) -> None:
    """Skip without a package; it is the inner run that imports it."""
    if find_spec(package) is None:
        pytest.skip(f"{package}: is not installed")


# --- a port of the test's own


def test_a_mail_is_expected(shop: Project) -> None:
    shop.write(
        test_it="""
        from shop import send

        def test_welcome(mailbox):
            send(mailbox.address)
            assert "Welcome" in mailbox.expect(to="ada@example.com").subject

        def test_nothing_is_left(mailbox):
            assert mailbox.messages == []
            mailbox.expect_none()
        """
    )
    shop.run(*STRICT).assert_outcomes(passed=2)


def test_what_is_demanded_ends_with_the_test(shop: Project) -> None:
    shop.write(
        test_it="""
        import smtplib

        import pytest

        from shop import send

        def test_refused(mailbox):
            mailbox.refuse(to="ada@example.com")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                send(mailbox.address)

        def test_all_is_right_again(mailbox):
            send(mailbox.address)
            assert len(mailbox) == 1
        """
    )
    shop.run(*STRICT).assert_outcomes(passed=2)


LATE = """
    from shop import send

    left = []

    def test_first(mailbox):
        left.append(mailbox.address)

    def test_second(mailbox):
        send(left[0], subject="Too late", to="bob@example.com")
        mailbox.expect_none()
        assert mailbox.messages == []

    def test_third(mailbox):
        pass
    """


def test_a_late_mail_is_told_and_not_counted(shop: Project) -> None:
    shop.write(test_it=LATE)
    result = shop.run(*STRICT)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "testbed: mail that belongs to no running test, and was counted for none:",
            "*'Too late' from shop@example.com to bob@example.com came after the end of test_it.py::test_first, to the port*",
        ]
    )


def test_a_late_mail_is_shown_to_who_waits_for_it(shop: Project) -> None:
    shop.write(test_it=LATE.replace("mailbox.expect_none()", "mailbox.expect(within=0.01)"))
    result = shop.run(*STRICT)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["E * late: 'Too late' * came after the end of test_it.py::test_first*"])


def test_a_late_mail_does_not_hide_the_test_s_own_error(shop: Project) -> None:
    shop.write(
        test_it=LATE.replace("def test_second(mailbox)", "def test_second(mailbox, broken)")
        + """
    import pytest

    @pytest.fixture
    def broken():
        yield
        raise KeyError("mine")
    """
    )
    result = shop.run(*STRICT)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*KeyError: 'mine'", "testbed: mail that belongs to no running test*"])


def test_a_mail_after_the_last_test(shop: Project) -> None:
    shop.write(
        conftest="""
        import pytest
        from shop import send

        left = []

        @pytest.hookimpl(tryfirst=True)
        def pytest_sessionfinish():
            send(left[0], subject="Too late")
        """,
        test_it="""
        def test_it(mailbox, pytestconfig):
            from conftest import left
            left.append(mailbox.address)
        """,
    )
    result = shop.run(*STRICT)
    result.stdout.fnmatch_lines(["testbed: mail that belongs*", "*'Too late' * after the end of test_it.py::test_it*"])
    assert result.ret == pytest.ExitCode.OK


def test_mails_of_a_teardown_are_the_test_s_own(shop: Project) -> None:
    shop.write(
        test_it="""
        import pytest
        from shop import send

        left = []

        @pytest.fixture
        def application():
            yield
            send(left[0], subject="Goodbye")

        def test_it(application, mailbox):
            left.append(mailbox.address)
        """
    )
    shop.run(*STRICT).assert_outcomes(passed=1)


def test_many_tests_do_not_hold_many_ports(shop: Project) -> None:
    shop.write(
        test_it="""
        import socket
        import time

        import pytest

        left = []

        @pytest.mark.parametrize("number", range(30))
        def test_it(mailbox, number):
            left.append(mailbox.address)
            socket.create_connection(mailbox.address).close()

        def test_the_last():
            def is_open(address):
                try:
                    socket.create_connection(address).close()
                except ConnectionRefusedError:
                    return False
                return True
            assert all(map(is_open, left[-17:]))
            deadline = time.monotonic() + 30
            while sum(map(is_open, left[:10])) > 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert sum(map(is_open, left[:10])) <= 2  # another process may have got such a port since
        """
    )
    shop.run(*STRICT).assert_outcomes(passed=31)


@pytest.mark.parametrize("options", [(), ("-o", "testbed_env=SMTP={mail.port}")], ids=["own port", "exported"])
def test_mails_of_earlier_tests_take_no_memory(shop: Project, options: tuple[str, ...]) -> None:
    shop.write(
        test_it="""
        import gc
        import weakref

        from shop import send

        left = []

        def test_first(mailbox):
            send(mailbox.address)
            left.append(weakref.ref(mailbox.expect()))

        def test_second(mailbox):
            gc.collect()
            assert left[0]() is None
        """
    )
    shop.run(*STRICT, *options).assert_outcomes(passed=2)


# --- an address for the whole run


def test_applications_know_the_address_before_any_conftest(exporting: Project) -> None:
    exporting.write(
        conftest="from shop import exported, send\nADDRESS = exported()\nsend(ADDRESS, subject='At import')",
        test_it="""
        import os

        from conftest import ADDRESS
        from shop import exported, send

        def test_it(mailbox):
            assert mailbox.address == exported() == ADDRESS
            assert os.environ["SMTP_ADDRESS"] == f"{mailbox.host}:{mailbox.port}"
            send(ADDRESS)
            assert mailbox.expect().subject == "Welcome"

        def test_it_is_empty(mailbox):
            assert mailbox.address == ADDRESS
            assert len(mailbox) == 0
        """,
    )
    result = exporting.run(*STRICT)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*'At import' * came before the first test"])


def test_tests_that_do_not_ask_leave_nothing(exporting: Project) -> None:
    exporting.write(
        test_it="""
        from shop import exported, send

        def test_first():
            send(exported())

        def test_second(mailbox):
            assert mailbox.messages == []
        """
    )
    exporting.run(*STRICT).assert_outcomes(passed=2)


def test_mails_of_other_fixtures_count(exporting: Project) -> None:
    exporting.write(
        test_it="""
        import pytest
        from shop import exported, send

        @pytest.fixture
        def application():
            send(exported(), subject="Hello")

        def test_it(application, mailbox):
            assert mailbox.expect().subject == "Hello"
        """
    )
    exporting.run(*STRICT).assert_outcomes(passed=1)


def test_a_connection_that_stays_open_leads_to_the_running_test(exporting: Project) -> None:
    exporting.write(
        test_it="""
        import smtplib

        import pytest
        from shop import exported

        @pytest.fixture(scope="module")
        def client():
            with smtplib.SMTP(*exported()) as client:
                yield client

        @pytest.mark.parametrize("number", range(3))
        def test_it(client, mailbox, number):
            client.sendmail("a@example.com", ["b@example.com"], f"Subject: {number}")
            assert [mail.subject for mail in mailbox.messages] == [str(number)]
        """
    )
    exporting.run(*STRICT).assert_outcomes(passed=3)


def test_what_comes_between_tests_is_told(exporting: Project) -> None:
    exporting.write(
        conftest="""
        from shop import exported, send

        def pytest_runtest_logfinish(nodeid):
            if "first" in nodeid:
                send(exported(), subject="Between")
        """,
        test_it="""
        def test_first():
            pass

        def test_second(mailbox):
            assert mailbox.messages == []
        """,
    )
    result = exporting.run(*STRICT)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*'Between' * came after the end of test_it.py::test_first"])


def test_each_worker_has_its_own(exporting: Project) -> None:
    exporting.write(
        test_it="""
        import os

        import pytest

        from shop import exported, send

        @pytest.mark.parametrize("number", range(8))
        def test_it(mailbox, number):
            send(exported(), subject=os.environ["PYTEST_XDIST_WORKER"])
            assert [mail.subject for mail in mailbox.messages] == [os.environ["PYTEST_XDIST_WORKER"]]
        """
    )
    exporting.run_apart("-q", "-p", "xdist.plugin", "-n", "2", "-W", "error").assert_outcomes(passed=8)


def test_the_environment_is_put_back(exporting: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PORT", "25")
    exporting.write(test_it="import os\ndef test_it(): assert os.environ['SMTP_PORT'] != '25'")
    exporting.run(*STRICT).assert_outcomes(passed=1)
    import os

    assert os.environ["SMTP_PORT"] == "25"


def test_a_form_that_there_is_not(shop: Project) -> None:
    result = shop.run("-o", "testbed_env=SMTP={mail.prot}")
    result.stderr.fnmatch_lines(["*names {mail.prot}, which there is not; did you mean *mail.port*"])


# --- what a failure shows


FAILING = """
    from shop import send

    def test_it(mailbox):
        send(mailbox.address, text="Hello Ada\\nbye", login=("ann", "geheim"))
        assert False
    """


def test_a_failure_shows_the_mails(shop: Project) -> None:
    shop.write(test_it=FAILING)
    result = shop.run(*STRICT)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Captured mail*",
            "From: shop@example.com",
            "To: ada@example.com",
            "Subject: Welcome",
            "    Hello Ada",
            "    bye",
            "Logged in: ann (password ?*?)",
        ]
    )
    assert result.stdout.str().count("geheim") == 1, "in the test's own line alone"


def test_where_nothing_came_there_is_no_section(shop: Project) -> None:
    shop.write(test_it="def test_it(mailbox): assert False")
    assert "Captured mail" not in shop.run("-q").stdout.str()


def test_a_failure_without_the_fixture_shows_them_too(exporting: Project) -> None:
    exporting.write(test_it="from shop import exported, send\ndef test_it():\n    send(exported())\n    assert False")
    exporting.run("-q").stdout.fnmatch_lines(["*Captured mail*", "Subject: Welcome"])


# --- beside others


def test_a_user_s_own_fixture(exporting: Project) -> None:
    exporting.write(
        test_it="""
        import pytest
        from shop import exported, send

        @pytest.fixture
        def mailbox():
            return "mine"

        def test_it(mailbox):
            send(exported())
            assert mailbox == "mine"
        """
    )
    exporting.run(*STRICT).assert_outcomes(passed=1)


def test_switched_off(shop: Project) -> None:
    shop.write(test_it="def test_it(mailbox): pass")
    result = shop.run("-q", "-p", "no:pytest_testbed.plugins.mail")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'mailbox' not found*"])


@pytest.mark.usefixtures("without_aiosmtpd")
class TestWithoutThePackage:
    def test_the_fixture_says_so(self, shop: Project) -> None:
        shop.write(test_it="def test_it(mailbox): pass")
        result = shop.run("-q")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            ["ConfigurationError: mailbox needs the package aiosmtpd, * pip install 'pytest-testbed[[]mail]'*"]
        )

    def test_an_exported_address_says_so(self, exporting: Project) -> None:
        exporting.write(test_it="def test_it(): pass")
        result = exporting.run("-q")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*{mail} needs the package aiosmtpd, *pip install 'pytest-testbed[[]mail]'*"])


@pytest.fixture
def without_aiosmtpd(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "aiosmtpd" else find(name, *more))


def test_frozen_time(shop: Project) -> None:
    needs("freezegun")
    shop.write(
        test_it="""
        import threading

        import pytest
        from freezegun import freeze_time
        from shop import send

        @freeze_time("2020-01-01")
        def test_it(mailbox):
            mailbox.delay(0.05)
            thread = threading.Thread(target=send, args=[mailbox.address])
            thread.start()
            assert mailbox.expect(within=30).subject == "Welcome"
            thread.join()
            with pytest.raises(AssertionError):
                mailbox.expect(within=0.05)
        """
    )
    shop.run("-q", "-W", "error").assert_outcomes(passed=1)


def test_a_child_process_sends(shop: Project) -> None:
    shop.write(
        test_it="""
        import subprocess, sys

        def test_it(mailbox):
            code = f"from shop import send; send({mailbox.address!r})"
            subprocess.run([sys.executable, "-c", code], check=True)
            assert mailbox.expect().subject == "Welcome"
        """
    )
    shop.run(*STRICT).assert_outcomes(passed=1)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="fork: there is none here")
def test_a_fork_sends_and_ends_nothing(shop: Project) -> None:
    shop.write(
        test_it="""
        import os
        import shutil

        from shop import send

        def test_it(mailbox, pytestconfig):
            certificate = mailbox.offer_starttls() if shutil.which("openssl") else __file__
            pid = os.fork()
            if not pid:
                try:
                    send(mailbox.address, subject="from the child")
                    pytestconfig.pluginmanager.getplugin("pytest_testbed.mailboxes").close()
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            assert mailbox.expect().subject == "from the child"
            assert os.path.exists(certificate)
            send(mailbox.address)
            assert mailbox.expect().subject == "Welcome"
        """
    )
    shop.run("-q", *(("-W", "ignore:.*fork:DeprecationWarning") if sys.version_info >= (3, 12) else ())).assert_outcomes(passed=1)


def test_async_tests(shop: Project) -> None:
    needs("pytest_asyncio")
    shop.write(
        test_it="""
        import asyncio

        import pytest
        from shop import send

        @pytest.mark.asyncio
        async def test_it(mailbox):
            sending = asyncio.create_task(asyncio.to_thread(send, mailbox.address))
            mail = await asyncio.to_thread(mailbox.expect, to="ada@example.com")
            await sending
            assert mail.subject == "Welcome"
        """
    )
    shop.run(*STRICT, "-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function").assert_outcomes(
        passed=1
    )


def test_reruns_begin_with_nothing(exporting: Project) -> None:
    needs("pytest_rerunfailures")
    exporting.write(
        test_it="""
        from shop import exported, send

        runs = []

        def test_it(mailbox):
            runs.append(1)
            send(exported())
            assert len(mailbox) == 1
            assert len(runs) == 2
        """
    )
    result = exporting.run("-q", "-p", "pytest_rerunfailures", "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}


def test_no_thread_is_left_of_a_run(shop: Project) -> None:
    shop.write(test_it="from shop import send\ndef test_it(mailbox): send(mailbox.address)")
    before = threading.enumerate()
    shop.run(*STRICT).assert_outcomes(passed=1)
    assert threading.enumerate() == before


@pytest.mark.parametrize("names", ["", "from shop import send, exported; send(exported())"])
def test_no_thread_is_left_of_a_run_with_an_address(exporting: Project, names: str) -> None:
    exporting.write(conftest=names, test_it="def test_it(): pass")
    before = threading.enumerate()
    result = exporting.run(*STRICT)
    result.assert_outcomes(passed=1)
    assert ("mail that belongs to no running test" in result.stdout.str()) is bool(names)
    assert threading.enumerate() == before


def test_nothing_is_left_of_a_run(exporting: Project) -> None:
    """No thread, no open port, no warning at the end of the process."""
    exporting.write(
        test_it="""
        import smtplib

        from shop import exported, send

        def test_it(mailbox):
            send(exported())
            global client
            client = smtplib.SMTP(*exported())
            client.__class__.__del__ = lambda self: None
        """
    )
    result = exporting.run_apart("-q", "-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert "Warning" not in result.stdout.str() + result.stderr.str()


def test_the_header_says_what_is_exported(exporting: Project) -> None:
    exporting.write(test_it="def test_it(): pass")
    exporting.run("-p", "no:cacheprovider").stdout.fnmatch_lines(["testbed: SMTP_HOST, SMTP_PORT, SMTP_ADDRESS from mailbox"])


def test_a_criterion_that_there_is_not(shop: Project) -> None:
    shop.write(test_it="def test_it(mailbox): mailbox.expect(sujbect='x')")
    shop.run("-q").stdout.fnmatch_lines(["E * TypeError: 'sujbect' is none of to, sender, *; did you mean 'subject'?"])
