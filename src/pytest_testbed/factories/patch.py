"""factory_boy's SQLAlchemy options, which ask for session, persistence and sequence anew each time: nothing is set in factories.

What a factory says of itself stays in it as it was written, and counts again as soon as the patch is taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from factory.alchemy import SQLAlchemyModelFactory, SQLAlchemyOptions
from factory.enums import CREATE_STRATEGY
from sqlalchemy.exc import IntegrityError, MissingGreenlet, NoResultFound
from sqlalchemy.util.concurrency import in_greenlet

from ..errors import FactoryError
from .binding import Binder
from .naming import loaded
from .unbound import no_greenlet_text, numbered_text, unbound_text

__all__ = ["Patch"]

SESSION, SESSION_FACTORY, PERSISTENCE = "sqlalchemy_session", "sqlalchemy_session_factory", "sqlalchemy_session_persistence"
ABSENT = object()


def instead_of(original: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function that stands in for another one, which it keeps."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.testbed_original = original  # type: ignore[attr-defined]
        return function

    return mark


def original_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return factory_boy's own: a pytest inside a test finds that of the outer one, whose sessions are not its own."""
    while hasattr(function, "testbed_original"):
        function = function.testbed_original
    return function


class Asked:
    """An option of factories whose value depends on what runs; factory_boy's own value is kept beside it.

    Args:
        name: of the option.
        value: returns its value, from the factory's options and what the factory says itself.
    """

    def __init__(self, name: str, value: Callable[[Any, Any], Any]) -> None:
        self.name, self.value = name, value

    def __get__(self, meta: Any, owner: type | None = None) -> Any:
        """Return what counts now."""
        if meta is None:
            return self
        try:
            said = vars(meta)[self.name]
        except KeyError:
            raise AttributeError(self.name) from None  # factory_boy looks whether it is there before it sets it
        return self.value(meta, said)

    def __set__(self, meta: Any, value: Any) -> None:
        """Keep what a factory says itself."""
        vars(meta)[self.name] = value


class AsWritten:
    """The options of a base, of which a new factory inherits what is written there and not what counts now."""

    def __init__(self, meta: Any) -> None:
        self._meta = meta

    def __getattr__(self, name: str) -> Any:
        written = vars(self._meta)
        return written[name] if name in written else getattr(self._meta, name)


class Patch:
    """What is changed in factory_boy as long as a run of tests goes on.

    Args:
        binder: knows the sessions.
    """

    def __init__(self, binder: Binder) -> None:
        self._binder = binder
        self._before: list[tuple[type, str, Any]] = []

    def put_on(self) -> None:
        """Change it."""
        options = SQLAlchemyOptions
        for factory in loaded():
            self._binder.adopt(factory._meta)
        self._set(options, SESSION, Asked(SESSION, self._session))
        self._set(options, SESSION_FACTORY, Asked(SESSION_FACTORY, self._session_factory))
        self._set(options, PERSISTENCE, Asked(PERSISTENCE, self._persistence))
        self._set(options, "_counter", Counting(self._binder))
        self._set(options, "_initialize_counter", self._initialize_counter(original_of(options._initialize_counter)))
        self._set(options, "_fill_from_meta", self._fill_from_meta(original_of(options._fill_from_meta)))
        self._set(options, "instantiate", self._instantiate(original_of(options.instantiate)))
        kept = original_of(vars(SQLAlchemyModelFactory)["_get_or_create"].__func__)
        self._set(SQLAlchemyModelFactory, "_get_or_create", classmethod(self._get_or_create(kept)))

    def take_off(self) -> None:
        """Leave it as it was."""
        while self._before:
            owner, name, value = self._before.pop()
            if value is ABSENT:
                delattr(owner, name)
            else:
                type.__setattr__(owner, name, value)

    def _set(self, owner: type, name: str, value: Any) -> None:
        self._before.append((owner, name, vars(owner).get(name, ABSENT)))
        type.__setattr__(owner, name, value)

    # --- options

    def _session(self, meta: Any, said: Any) -> Any:
        bound = self._binder.session_for(meta)
        return said if bound is None else bound.session

    def _session_factory(self, meta: Any, said: Any) -> Any:
        return said if not said or self._binder.session_for(meta) is None else None

    def _persistence(self, meta: Any, said: Any) -> Any:
        bound = self._binder.session_for(meta)
        if bound is None:
            return said
        return self._binder.forced or said or bound.persistence

    def _fill_from_meta(self, original: Callable[..., None]) -> Callable[..., None]:
        @instead_of(original)
        def fill_from_meta(meta_of_new: Any, meta: Any, base_meta: Any) -> None:
            original(meta_of_new, meta=meta, base_meta=base_meta and AsWritten(base_meta))

        return fill_from_meta

    def _initialize_counter(self, original: Callable[..., None]) -> Callable[..., None]:
        binder = self._binder

        @instead_of(original)
        def initialize_counter(meta: Any) -> None:
            if not binder.governs(meta):
                original(meta)
            elif binder.counter(meta) is None:
                binder.begin_counting(meta)

        return initialize_counter

    # --- what is created

    def _instantiate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        binder = self._binder

        @instead_of(original)
        def instantiate(meta: Any, step: Any, args: Any, kwargs: Any) -> Any:
            if step.builder.strategy != CREATE_STRATEGY or not binder.governs(meta):
                return original(meta, step, args, kwargs)
            bound = binder.provide()
            if bound is not None and bound.is_async and not in_greenlet() and waits(meta):
                raise FactoryError(no_greenlet_text(step, bound))
            try:
                return original(meta, step, args, kwargs)
            except RuntimeError as error:
                if bound is None and str(error).startswith("No session provided"):
                    raise FactoryError(unbound_text(step, binder.where())) from None
                raise
            except MissingGreenlet as error:
                if bound is None or not bound.is_async:
                    raise
                raise FactoryError(no_greenlet_text(step, bound)) from error
            except IntegrityError as error:
                if note := numbered_text(meta, error):
                    error.add_note(note)
                raise

        return instantiate

    def _get_or_create(self, original: Callable[..., Any]) -> Callable[..., Any]:
        binder = self._binder

        @instead_of(original)
        def get_or_create(cls: Any, model_class: Any, session: Any, args: Any, kwargs: Any) -> Any:
            meta = cls._meta
            bound, persistence = binder.session_for(meta), meta.sqlalchemy_session_persistence
            keys = meta.sqlalchemy_get_or_create
            if bound is None or bound.session is not session or persistence is None or not set(keys) <= set(kwargs):
                return original.__get__(cls)(model_class, session, args, kwargs)
            found = session.query(model_class).filter_by(*args, **{key: kwargs[key] for key in keys}).one_or_none()
            return found if found is not None else create_or_get(binder, cls, model_class, session, args, kwargs)

        return get_or_create


class Counting(Asked):
    """The counter of a factory's sequence, of which each test has its own."""

    def __init__(self, binder: Binder) -> None:
        super().__init__("_counter", lambda meta, _said: binder.counter(meta))
        self._binder = binder

    def __set__(self, meta: Any, value: Any) -> None:
        """Let it go on from there where we are."""
        self._binder.count(meta, value)


def waits(meta: Any) -> bool:
    """Tell whether factory_boy itself will talk to the database for a factory."""
    is_own = meta.factory._create.__func__ is not vars(SQLAlchemyModelFactory)["_create"].__func__
    return not is_own and bool(meta.sqlalchemy_session_persistence or meta.sqlalchemy_get_or_create)


def create_or_get(binder: Binder, cls: Any, model_class: Any, session: Any, args: Any, kwargs: Any) -> Any:
    """Create an object in a savepoint, so that a conflict undoes nothing but that; then get the one it conflicts with."""
    try:
        with session.begin_nested(), binder.flushing():
            made = cls._save(model_class, session, args, kwargs)
    except IntegrityError as error:
        given = cls._original_params or {}
        keys = {key: given[key] for key in cls._meta.sqlalchemy_get_or_create if key in given}
        if not keys:
            raise
        try:
            return session.query(model_class).filter_by(**keys).one()
        except NoResultFound:
            raise error from None
    if cls._meta.sqlalchemy_session_persistence == "commit":
        session.commit()
    return made
