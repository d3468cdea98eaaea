"""What `doctor` finds of container engines and of images."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ..services.model import Refusal
from ..services.providers.engine_address import Engine, EngineAddress, addresses, missing, short, within
from .aside import Aside
from .finding import Finding, bad, none, ok
from .shown import age, size

__all__ = ["engine_findings", "image_findings"]

GROUP = "containers"
INFO_SECONDS = 2.0
PROGRAMS = ("dockerd", "docker", "podman")
GET_ONE = "apt-get install docker.io, or podman, or Docker Desktop"


def engine_findings(engine: Engine | Refusal, environ: Mapping[str, str]) -> list[Finding]:
    """Return what is to be told of the engine that a run would use."""
    if isinstance(engine, Refusal):
        programs = [name for name in PROGRAMS if shutil.which(name, path=environ.get("PATH"))]
        is_named = environ.get("DOCKER_HOST") or environ.get("DOCKER_CONTEXT")
        remedy = engine.remedy if programs or is_named or "no such file" not in engine.reason else f"{GET_ONE}; {engine.remedy}"
        return [
            bad(GROUP, "engine", engine.reason, remedy)
            if is_amiss(engine, environ)
            else none(GROUP, "engine", engine.reason, remedy)
        ]
    address, api = engine.address, engine.api
    try:
        version, info = within(INFO_SECONDS, lambda: (api.version(), api.info()))
    except Exception as error:
        where = f"at {address.shown} (from {address.source})"
        return [bad(GROUP, "engine", f"{where} answers, and does not tell of itself ({short(error)})", "restart it")]
    return [ok(GROUP, "engine", described(address, version, info), **facts_of(address, version, info)), *others(address, environ)]


def is_amiss(refusal: Refusal, environ: Mapping[str, str]) -> bool:
    """Tell whether there is an engine that should work, and does not: it is named, or it is there."""
    return bool(environ.get("DOCKER_HOST") or environ.get("DOCKER_CONTEXT")) or "no such file" not in refusal.reason


def described(address: EngineAddress, version: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """Return the engine in one line."""
    name = "Podman" if "podman" in str(version.get("Components", "")).lower() else "Docker"
    source = "found there" if address.source == "default" else f"from {address.source}"
    traits = [
        f"API {version.get('ApiVersion', '?')}",
        *(["rootless"] if is_rootless(info) else []),
        *([f"on another machine, {address.remote_host}"] if address.remote_host else []),
    ]
    return f"{name} {version.get('Version', '?')} at {address.shown} ({source}), {', '.join(traits)}"


def is_rootless(info: Mapping[str, Any]) -> bool:
    """Tell whether an engine runs without root's rights."""
    return any("rootless" in str(each) for each in info.get("SecurityOptions") or ())


def facts_of(address: EngineAddress, version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what programs want to know of an engine."""
    return {
        "address": address.shown,
        "source": address.source,
        "version": version.get("Version"),
        "api": version.get("ApiVersion"),
        "rootless": is_rootless(info),
        "remote": address.remote_host or None,
    }


def others(address: EngineAddress, environ: Mapping[str, str]) -> list[Finding]:
    """Return what else would be an engine, if the one that is used were not there."""
    plain = {name: value for name, value in environ.items() if name not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    found = addresses(plain)
    if isinstance(found, Refusal):
        return []
    there = [each.url for each in found if each.url != address.url and os.path.exists(each.socket)]
    return [none(GROUP, "others", f"{', '.join(there)}: not used", "DOCKER_HOST chooses another")] if there else []


def image_findings(images: Sequence[str], engine: Engine | Refusal, outlook: Mapping[str, tuple[bool, str]]) -> list[Finding]:
    """Return what is to be told of images.

    Args:
        images: their names.
        engine: where they should be.
        outlook: of those that are not there, whether they can be got, and in words why or why not.
    """
    if isinstance(engine, Refusal):
        return [none(GROUP, image, "nobody knows, without an engine") for image in images]
    looks = [(image, Aside(partial(look_at, image, engine))) for image in images]
    found = []
    for image, look in looks:
        try:
            facts = look.result(INFO_SECONDS)
        except Exception as error:
            found.append(bad(GROUP, image, f"cannot be looked up ({short(error)})"))
            continue
        if facts is not None:
            made = f", made {age(time.time() - facts['made'])} ago" if facts["made"] else ""
            found.append(ok(GROUP, image, f"{facts['id'][:19]}, {size(facts['size'])}{made}", **facts))
        else:
            can, why = outlook.get(image, (False, "is not there"))
            found.append((ok if can else none)(GROUP, image, why, f"docker pull {image}"))
    return found


def look_at(image: str, engine: Engine) -> dict[str, Any] | None:
    """Return what the engine says of an image, None where it has none of that name."""
    try:
        said = engine.api.inspect_image(image)
    except OSError as error:
        if missing(error):
            return None
        raise
    return {"id": str(said.get("Id", "")), "size": said.get("Size"), "made": moment(str(said.get("Created") or ""))}


def moment(text: str) -> float | None:
    """Return a time that an engine tells, in seconds of the wall clock; None where it cannot be read."""
    try:
        # it has nanoseconds, of which Python reads six digits at most
        made = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError:
        return None
    return made if made > 0 else None  # images that are made to be the same each time are of the year 1
