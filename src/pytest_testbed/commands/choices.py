"""Which provider a run would take for each kind, asked of the code that a run asks, and why none of the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, TestbedError
from ..services.model import Context, Provider, Refusal, ServiceSpec, resolve
from ..services.places import run_directory
from ..services.starting import PROVIDERS, await_ready, in_order, no_data_directory
from .aside import Aside
from .finding import Finding, bad, none, ok
from .shown import without_passwords

__all__ = ["Choice", "Verdict", "choices", "findings"]

ASK_SECONDS = 8.0
"""For one provider and one kind; each of its own questions has a shorter limit."""
ANSWER_SECONDS = 2.5
"""For a server that somebody named; a run is a little more patient."""
GROUP = "what a run would take"


@dataclass
class Verdict:
    """What one provider says to one kind; `source` is what it would take, `is_asked` whether a run would ask it."""

    provider: str
    is_asked: bool
    refusal: Refusal | None = None
    notes: list[str] = field(default_factory=list)
    source: str = ""


@dataclass
class Choice:
    """What a run would do for one kind: the provider that it takes, or why it can take none."""

    spec: ServiceSpec
    verdicts: list[Verdict]
    taken: Verdict | None = None
    version: str = ""
    fault: Refusal | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "kind": self.spec.kind,
            "asked_for": self.spec.provider,
            "provider": self.taken.provider if self.taken is not None and self.fault is None else None,
            "source": self.taken.source if self.taken is not None else "",
            "version": self.version,
            "reason": self.fault.reason if self.fault is not None else "",
            "remedy": self.fault.remedy if self.fault is not None else "",
            "providers": [
                {
                    "name": each.provider,
                    "asked": each.is_asked,
                    "can": each.refusal is None,
                    "source": each.source,
                    "reason": each.refusal.reason if each.refusal is not None else "",
                    "remedy": each.refusal.remedy if each.refusal is not None else "",
                    "notes": each.notes,
                }
                for each in self.verdicts
            ],
        }


def choices(specs: Sequence[ServiceSpec], more: Mapping[str, str], data: str = "") -> list[Choice]:
    """Ask all providers for all kinds, side by side.

    Args:
        specs: the kinds, as they are configured.
        more: providers that are not built in, name → reference.
        data: the directory that the user chose for data, or "".
    """
    known = {**PROVIDERS, **more}
    made = {name: Aside(partial(make, reference)) for name, reference in known.items()}
    asked = [(spec, [(name, *question(name, spec, made, data)) for name in concerned(spec)]) for spec in specs]
    found = [Aside(partial(choice, spec, answers, list(known), made, data)) for spec, answers in asked]
    # each of its providers may hang, and so may the server that is logged in at
    return [each.result(ASK_SECONDS * (len(answers) + 1)) for each, (_, answers) in zip(found, asked, strict=True)]


def make(reference: str) -> Provider:
    """Return a new provider."""
    provider: Provider = resolve(reference)()
    return provider


def concerned(spec: ServiceSpec) -> list[str]:
    """Return the providers that there is something to say of."""
    return list(dict.fromkeys([*PROVIDERS, *([] if spec.provider == "auto" else [spec.provider])]))


def question(
    name: str, spec: ServiceSpec, made: Mapping[str, Aside[Provider]], data: str
) -> tuple[Aside[tuple[Refusal | None, str]], list[str]]:
    """Begin to ask one provider; return where its answer will be, and its notes."""
    notes: list[str] = []

    def ask() -> tuple[Refusal | None, str]:
        if name not in made:
            return Refusal(f"there is no provider {name!r}", f"correct testbed_provider; known are: {', '.join(made)}"), ""
        provider = made[name].result(ASK_SECONDS)
        refusal = provider.refusal(spec, looking(data, notes.append))
        found: Callable[[ServiceSpec], str] | None = getattr(provider, "found", None)
        return refusal, found(spec) if found is not None and refusal is None else ""

    return Aside(ask), notes


def looking(data: str, note: Callable[[str], None]) -> Context:
    """Return the context of somebody who only looks: there is no run, no cache and no directory."""
    nothing: Callable[..., None] = lambda *words: None  # noqa: E731
    chosen = Path(data).expanduser() if data else None
    directory = run_directory("doctor", chosen)
    return Context(
        run="doctor",
        directory=directory,
        cache=None,  # versions of programs would be written there
        own=nothing,
        disown=nothing,
        progress=nothing,
        note=note,
        data_directory=chosen,
        only_looks=True,
    )


Answer = tuple[str, Aside[tuple["Refusal | None", str]], list[str]]


def choice(
    spec: ServiceSpec, asked: Iterable[Answer], known: Sequence[str], made: Mapping[str, Aside[Provider]], data: str
) -> Choice:
    """Wait for the answers, and do what a run does with them."""
    order = in_order(spec, known)
    verdicts = [verdict(name, name in order, answer, notes) for name, answer, notes in asked]
    result = Choice(spec, verdicts)
    result.fault = no_place(data)
    by_name = {each.provider: each for each in verdicts}
    result.taken = next((by_name[name] for name in order if name in by_name and by_name[name].refusal is None), None)
    if result.taken is None:
        result.fault = result.fault or Refusal(why_none(spec, by_name, order), "see below")
    elif result.taken.provider == "external":
        result.version, refusal = answer_of(spec, made["external"], data)
        result.fault = result.fault or refusal
    return result


def verdict(name: str, is_asked: bool, answer: Aside[tuple[Refusal | None, str]], notes: list[str]) -> Verdict:
    """Return what a provider has answered; one that hangs or fails has refused."""
    try:
        refusal, source = answer.result(ASK_SECONDS)
    except TimeoutError as error:
        return Verdict(name, is_asked, Refusal(f"it does not say whether it can ({error})", "look why it hangs"))
    except Exception as error:  # somebody's own provider, or recipe
        text = without_passwords(str(error) if isinstance(error, TestbedError) else repr(error))
        return Verdict(name, is_asked, Refusal(f"it could not be asked: {text}", "correct the provider, or the kind's recipe"))
    return Verdict(name, is_asked, refusal, list(notes), source)


def why_none(spec: ServiceSpec, verdicts: Mapping[str, Verdict], order: Sequence[str]) -> str:
    """Return in a few words why nothing can serve."""
    if len(order) == 1 and spec.provider != "auto":
        others = [name for name, each in verdicts.items() if name not in order and each.refusal is None]
        could = f"; {' or '.join(others)} could" if others else ""
        return f"{order[0]} is asked for, and cannot{could}"
    return "no provider can give it"


def no_place(data: str) -> Refusal | None:
    """Return why a run could not make its own directory; None where it can."""
    chosen = Path(data).expanduser() if data else None
    if (missing := no_data_directory(chosen)) is not None:
        return missing
    try:
        place = run_directory("doctor", chosen).parent
    except OSError as error:
        return Refusal(f"there is no temporary directory ({error.strerror})", "make one, and let TMPDIR name it")
    if os.access(place, os.W_OK | os.X_OK):
        return None
    return Refusal(f"{place}, where a run has its data, may not be written", "let TMPDIR name a directory that may")


def answer_of(spec: ServiceSpec, external: Aside[Provider], data: str) -> tuple[str, Refusal | None]:
    """Log in at a server that somebody named, as a run would; return its version, or why it will not do."""

    def ask() -> str:
        running = external.result(ASK_SECONDS).start(spec, looking(data, lambda text: None))
        return await_ready(spec, running, ANSWER_SECONDS).version

    try:
        return Aside(ask).result(ANSWER_SECONDS * 2), None
    except TimeoutError as error:
        return "", Refusal(f"the server hangs ({error})", "look after it, or name another")
    except TestbedError as error:
        reason, _, remedy = without_passwords(str(error)).partition(" → ")
        is_wrong = isinstance(error, ConfigurationError)
        usual = "correct the URL, or the kind's probe or url_parser" if is_wrong else "start it, or correct the URL"
        return "", Refusal(reason, remedy.removesuffix(".") or usual)
    except Exception as error:  # a parser of somebody's own
        why = without_passwords(repr(error))
        return "", Refusal(f"the server could not be asked: {why}", "correct the kind's probe or url_parser")


# --- as people read it


def findings(choice: Choice, said_by: str) -> list[Finding]:
    """Return what is to be told of one kind.

    Args:
        choice: of that kind.
        said_by: where `testbed_provider` was said, "" where nobody did.
    """
    kind, taken = choice.spec.kind, choice.taken
    if choice.fault is not None or taken is None:
        assert choice.fault is not None
        remedy = "" if taken is None and choice.fault.remedy == "see below" else choice.fault.remedy
        lines = [bad(GROUP, kind, choice.fault.reason, remedy)]
    else:
        what = f"{taken.provider}: {taken.source}" if taken.source else taken.provider
        lines = [ok(GROUP, kind, "; ".join([f"{what}, {choice.version}" if choice.version else what, *taken.notes]))]
    for each in choice.verdicts:
        if each is not taken:
            lines.append(of_other(each, choice, said_by))
    return lines


def of_other(verdict: Verdict, choice: Choice, said_by: str) -> Finding:
    """Return why a provider is not the one that is taken."""
    name, spec = f"  {verdict.provider}", choice.spec
    if verdict.refusal is not None:
        text, remedy = verdict.refusal.reason, verdict.refusal.remedy
        return Finding(GROUP, name, "none", text, remedy)
    could = f"could: {verdict.source}" if verdict.source else "could"
    if spec.provider != "auto":
        by = f" (from {said_by})" if said_by else ""
        return none(GROUP, name, f"not asked, as {spec.provider} is asked for{by}; it {could}")
    if spec.url:
        return none(GROUP, name, f"not asked, as a URL is given; it {could}")
    after = choice.taken.provider if choice.taken is not None else "others"
    return none(GROUP, name, "; ".join([f"comes after {after}; it {could}", *verdict.notes]))
