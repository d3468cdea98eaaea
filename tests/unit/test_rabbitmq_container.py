"""What a container does before its broker boots: the script itself, in the shells that images have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_testbed.rabbitmq.container import QUICK, start_command
from pytest_testbed.rabbitmq.installation import find_installation, needed, plugins_in

FOUND = {os.path.realpath(path): shell for shell in ("sh", "dash", "bash", "busybox") if (path := shutil.which(shell))}
SHELLS = [[shell, "sh"] if shell == "busybox" else [shell] for shell in FOUND.values()]
NEEDS = {
    "rabbit": "kernel,stdlib,rabbit_common, rabbitmq_prelaunch,ra",
    "rabbit_common": "kernel, recon",
    "rabbitmq_prelaunch": "stdlib",
    "ra": "aten",
    "aten": "kernel,stdlib",
    "recon": "kernel,stdlib",
    "rabbitmq_management": "rabbit,\n\t\tcowboy,rabbitmq_management_agent",
    "rabbitmq_management_agent": "rabbit",
    "cowboy": "kernel,stdlib,crypto",
    "rabbitmq_prometheus": "rabbit,prometheus",
    "prometheus": "kernel",
    "rabbitmq_stomp": "rabbit_common,rabbit",
    "rabbitmq_shovel": "rabbit,amqp10_client",
    "amqp10_client": "kernel",
}
"""A made-up server: what each plugin needs."""
BARE = {
    *("rabbit", "rabbit_common", "rabbitmq_prelaunch", "ra", "aten", "recon"),
    *("rabbitmq_management", "rabbitmq_management_agent", "cowboy"),
}


def app_file(name: str, needs: str) -> str:
    return (
        f"%% made up\n{{application, '{name}', [\n\t{{vsn, \"3.10.8\"}},\n\t{{registered, [rabbitmq_stomp]}},\n"
        f"\t{{applications, [{needs}]}},\n\t{{env, []}}, {{modules, [rabbitmq_shovel]}}\n]}}.\n"
    )


class Image:
    """The files of a made-up image, and what its broker finds when it boots."""

    def __init__(self, path: Path, shell: list[str]) -> None:
        self._path, self._shell = path, shell
        self.folder = path / "plugins"
        self.file = path / "enabled_plugins"
        self.file.write_text("[rabbitmq_prometheus].\n")
        program = path / "docker-entrypoint.sh"
        program.write_text('#!/bin/sh\necho "$(pwd) $*"\n')
        program.chmod(0o755)

    def add(self, name: str, needs: str, version: str = "3.10.8") -> None:
        ebin = self.folder / f"{name}-{version}" / "ebin"
        ebin.mkdir(parents=True)
        (ebin / f"{name}.app").write_text(app_file(name, needs))

    def fill(self, version: str = "3.10.8") -> None:
        for name, needs in NEEDS.items():
            self.add(name, needs, version if name.startswith("rabbit") else "1.0")

    def boot(self, *plugins: str, before: str = QUICK) -> subprocess.CompletedProcess[str]:
        done = self.run(*plugins, before=before)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[1:] == ["rabbitmq-server"]
        return done

    def run(self, *plugins: str, before: str = QUICK, **variables: str) -> subprocess.CompletedProcess[str]:
        _, _, script = start_command(plugins, before)
        script = script.replace("cd -P /plugins", f"cd -P {self.folder}")
        assert " /plugins" not in script, "it would remove this machine's"
        environ = {
            "PATH": f"{self._path}:{os.environ['PATH']}",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.file),
            **variables,
        }
        return subprocess.run([*self._shell, "-c", script], env=environ, capture_output=True, text=True, timeout=30, check=False)

    @property
    def kept(self) -> set[str]:
        return set(plugins_in(self.folder.parent))

    @property
    def enabled(self) -> list[str]:
        return self.file.read_text().strip().removeprefix("[").removesuffix("].").split(",")


@pytest.fixture(params=SHELLS, ids=" ".join)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Image:
    return Image(tmp_path, request.param)


def test_the_plugins_that_nobody_needs_are_removed(image: Image) -> None:
    image.fill()
    done = image.boot()
    assert done.stderr == ""
    assert image.kept == BARE
    assert image.enabled == ["rabbitmq_management"]
    assert done.stdout.split()[0] == "/", "the broker does not boot in the folder of its plugins"


def test_what_is_asked_for_stays_with_what_it_needs(image: Image) -> None:
    image.fill()
    image.boot("rabbitmq_shovel", "rabbitmq_prometheus", "rabbitmq_management")
    assert image.kept == {*BARE, "rabbitmq_shovel", "amqp10_client", "rabbitmq_prometheus", "prometheus"}
    assert image.enabled == ["rabbitmq_management", "rabbitmq_shovel", "rabbitmq_prometheus"]


@pytest.mark.parametrize(
    "text", ["[rabbitmq_prometheus,rabbitmq_stomp].\n", "% ours: not rabbitmq_shovel\n['rabbitmq_stomp',\n rabbitmq_prometheus]."]
)
def test_what_the_image_enables_itself_stays_too(image: Image, text: str) -> None:
    image.fill()
    image.file.write_text(text)
    image.boot()
    assert image.kept == {*BARE, "rabbitmq_stomp"}
    assert image.enabled == ["rabbitmq_management", "rabbitmq_stomp"]


def test_without_a_quick_boot_nothing_is_removed(image: Image) -> None:
    image.fill()
    image.boot("rabbitmq_stomp", before="")
    assert image.kept == set(NEEDS)
    assert image.enabled == ["rabbitmq_management", "rabbitmq_stomp"]


@pytest.mark.parametrize("version", ["2.8.7", "5.0.0", "30.1.0"])
def test_of_a_version_on_which_it_was_not_tried_nothing_is_removed(image: Image, version: str) -> None:
    image.fill(version)
    image.boot()
    assert image.kept == set(NEEDS)


def test_a_version_before_its_release_is_one_as_well(image: Image) -> None:
    image.fill("4.1.0-rc.2")
    image.boot()
    assert image.kept == BARE


@pytest.mark.parametrize("name", ["rabbitmq_stomp", "cowboy", "rabbit"])
def test_where_a_needed_plugin_is_packed_nothing_is_removed(image: Image, name: str) -> None:
    image.fill()
    (folder,) = image.folder.glob(f"{name}-[0-9]*")
    shutil.rmtree(folder)
    folder.with_name(f"{folder.name}.ez").write_bytes(b"PK")
    image.boot("rabbitmq_stomp")
    assert image.kept == set(NEEDS)


def test_where_a_plugin_is_there_twice_nothing_is_removed(image: Image) -> None:
    image.fill()
    image.add("cowboy", "kernel", "2.0")
    image.boot()
    assert image.kept == set(NEEDS)


def test_where_an_enabled_plugin_is_elsewhere_nothing_is_removed(image: Image) -> None:
    image.fill()
    image.file.write_text("[rabbitmq_of_mine].\n")
    image.boot()
    assert image.kept == set(NEEDS)


def test_a_plugin_that_the_image_does_not_have_is_told(image: Image) -> None:
    image.fill()
    done = image.run("rabbitmq_stomp", "rabbitmq_of_mine")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "pytest-testbed: this image has no plugin rabbitmq_of_mine; correct testbed_rabbitmq_plugins" in done.stderr
    assert " rabbitmq_shovel rabbitmq_stomp " in done.stderr
    assert image.kept == set(NEEDS)


def test_a_plugin_may_be_in_another_folder_that_the_user_has_named(image: Image) -> None:
    image.fill()
    done = image.run("rabbitmq_of_mine", RABBITMQ_PLUGINS_DIR=f"{image.folder}:/mine")
    assert done.stdout.split()[1:] == ["rabbitmq-server"]
    assert image.enabled == ["rabbitmq_management", "rabbitmq_of_mine"]
    assert image.kept == set(NEEDS)


def test_where_a_plugin_does_not_say_what_it_needs_nothing_is_removed(image: Image) -> None:
    image.fill()
    (file,) = image.folder.glob("cowboy-*/ebin/cowboy.app")
    file.write_text("{application, cowboy, []}.\n")
    image.boot()
    assert image.kept == set(NEEDS)


def test_an_image_without_that_folder_boots(image: Image) -> None:
    assert image.boot().stderr == ""


def test_an_image_whose_folder_is_a_link_boots(image: Image) -> None:
    """As that of the official images is."""
    image.fill()
    there = image.folder.rename(image.folder.with_name("there"))
    image.folder.symlink_to(there)
    image.boot()
    assert image.kept == BARE


def test_an_image_without_a_file_of_enabled_plugins_gets_one(image: Image) -> None:
    image.fill()
    image.file.unlink()
    image.boot()
    assert image.enabled == ["rabbitmq_management"]
    assert image.kept == BARE


def test_a_file_that_cannot_be_written_is_told_and_the_broker_boots(image: Image) -> None:
    image.fill()
    image.file.unlink()
    image.file.mkdir()
    done = image.boot()
    assert f"pytest-testbed: {image.file} cannot be written" in done.stderr
    assert image.kept == BARE


@pytest.mark.parametrize("plugins", [(), ("rabbitmq_stomp",), ("rabbitmq_shovel_management", "rabbitmq_prometheus")], ids=str)
def test_it_keeps_what_the_local_provider_keeps(image: Image, plugins: tuple[str, ...]) -> None:
    """On the plugins of this machine's server, if there is one, else on the made-up ones."""
    found, _ = find_installation("", None, os.environ)
    if found is None:
        image.fill()
    else:
        shutil.copytree(found.home / "plugins", image.folder, ignore=shutil.ignore_patterns("*.beam", "priv", "escript"))
    keep = needed(plugins_in(image.folder.parent), ["rabbitmq_management", *plugins])
    image.boot(*plugins)
    assert image.kept == keep
