"""`http_mock`: the `responses` of one test, that lets this machine through and keeps what no stub matched."""

from __future__ import annotations

from collections.abc import Iterable
from re import Pattern
from typing import TYPE_CHECKING, Any

import responses
from requests.adapters import HTTPAdapter

from .exchange import Exchange, Journal
from .places import Places
from .unmatched import Unmatched

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

__all__ = ["HttpMock"]

NO_STUB = "no stub matched"


class HttpMock(responses.RequestsMock):
    """A `responses.RequestsMock` that lets requests to this machine through, and notes what no stub matched.

    It has all that responses has: `get`, `post`, `add`, `calls`, `assert_call_count` and the rest.

    Args:
        places: the hosts whose requests go through where no stub matches.
        passthrough: beginnings of URLs, or patterns, of more such requests.
        journal: where each request is noted that was answered, or refused, in here.
    """

    def __init__(
        self,
        places: Places | None = None,
        passthrough: Iterable[str | Pattern[str]] = (),
        journal: Journal | None = None,
    ) -> None:
        self._own = tuple(passthrough)
        super().__init__(assert_all_requests_are_fired=False, passthru_prefixes=self._own)  # type: ignore[arg-type]
        self._calls = Calls(journal)
        self.unmatched: list[Unmatched] = []
        """The requests that no stub matched; what is still in here at the test's end fails it. A test that wants such a
        request clears it."""
        self._places = places or Places()
        self._before: Any = None
        self._put: Any = None

    # --- what goes through

    def reset(self) -> None:
        """Forget stubs, calls and what `add_passthru` has added; not what the test's mark and the options let through."""
        super().reset()
        self.passthru_prefixes: tuple[Any, ...] = self._own

    def set_registry(self, registry: type[Any]) -> None:
        """Have requests and stubs told from each other by another registry, such as `registries.OrderedRegistry`.

        With that one, stubs are used in their order.

        Raises:
            AttributeError: there are stubs already.
        """
        self._set_registry(registry)

    def goes_through(self, request: PreparedRequest) -> bool:
        """Tell whether a request is to be sent for real: it may be, and no stub matches it."""
        url = str(request.url)
        if not self._places.lead_to(url) and not any(begins(url, each) for each in self.passthru_prefixes):
            return False
        return not self.matches(request)

    def matches(self, request: PreparedRequest) -> bool:
        """Tell whether a stub matches a request, and leave all as it is: some registries are used up by being asked."""
        stubs = self.registered()
        if stubs:  # their matchers want what `responses` gives a request on its way in
            request.params = self._parse_request_params(request.path_url)  # type: ignore[attr-defined]
            if not hasattr(request, "req_kwargs"):
                request.req_kwargs = {}  # type: ignore[attr-defined]
        return any(stub.matches(request)[0] for stub in stubs)

    # --- what comes in

    def _on_request(self, adapter: HTTPAdapter, request: PreparedRequest, *, retries: Any = None, **kwargs: Any) -> Response:
        if self.goes_through(request):
            return self._real_send(adapter, request, **kwargs)  # type: ignore[call-arg]
        return super()._on_request(adapter, request, retries=retries, **kwargs)

    def _find_match(self, request: PreparedRequest) -> tuple[responses.BaseResponse | None, list[str]]:
        found, reasons = super()._find_match(request)
        if found is None:
            self.unmatched.append(Unmatched.from_request(request, self.registered()))
        return found, reasons

    def answer(self, request: PreparedRequest) -> Response:
        """Answer the request of another library than requests, one that does not go through.

        Raises:
            requests.ConnectionError: no stub matched.
            BaseException: a stub's body is an error.
        """
        return self._on_request(ADAPTER, request, stream=False)

    # --- its place in requests

    def start(self) -> None:
        """Take the place of requests' own `send`."""
        if self._put is not None:
            return
        ours = self.unbound_on_send()
        before = HTTPAdapter.send

        def send(adapter: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            # somebody who replaced it while the test ran may have put it back after the test's end
            return (ours if self._put is send else before)(adapter, request, *args, **kwargs)

        self._before, self._put = before, send
        HTTPAdapter.send = send  # type: ignore[method-assign,assignment]

    def stop(self, allow_assert: bool = True) -> None:
        """Give requests its `send` back, unless somebody else's is in its place by now."""
        if self._put is not None:
            if HTTPAdapter.send is self._put:
                HTTPAdapter.send = self._before  # type: ignore[method-assign]
            self._put = None
        super().stop(allow_assert)

    @property
    def unused(self) -> list[responses.BaseResponse]:
        """The stubs that no request has used."""
        return [stub for stub in self.registered() if stub.call_count == 0]


ADAPTER = HTTPAdapter()
"""What makes an answer out of a stub for other libraries than requests."""


def begins(url: str, beginning: str | Pattern[str]) -> bool:
    """Tell whether a URL begins so, or matches a pattern from its beginning."""
    return bool(beginning.match(url)) if isinstance(beginning, Pattern) else url.startswith(beginning)


class Calls(responses.CallList):
    """The calls of a mock, each noted for the report of a failure as well."""

    def __init__(self, journal: Journal | None) -> None:
        super().__init__()
        self._journal = journal

    def add(self, request: PreparedRequest, response: Any) -> None:
        """Keep a call that no stub matched."""
        super().add(request, response)
        self._note(request, None, NO_STUB)

    def add_call(self, call: responses.Call) -> None:
        """Keep a call that a stub has answered."""
        super().add_call(call)
        if isinstance(call.response, BaseException):
            self._note(call.request, None, f"{type(call.response).__name__} of the stub")
        else:
            self._note(call.request, call.response, "")

    def _note(self, request: PreparedRequest, response: Any, note: str) -> None:
        if self._journal is None:
            return
        sent = request.body
        self._journal.add(
            Exchange(
                "http_mock",
                str(request.method),
                str(request.url),
                status=getattr(response, "status_code", None),
                sent_headers=[(name, text_of(value)) for name, value in request.headers.items()],
                sent=sent.encode(errors="replace") if isinstance(sent, str) else sent if isinstance(sent, bytes) else b"",
                headers=() if response is None else response.headers.items(),
                body=content(request, response),
                note=note,
            )
        )


def text_of(value: str | bytes) -> str:
    """Return a header's value, which requests takes as bytes, too."""
    return value if isinstance(value, str) else value.decode("latin-1")


def content(request: PreparedRequest, response: Any) -> bytes:
    """Return the body of an answer that is not read bit by bit."""
    if response is None or getattr(request, "req_kwargs", {}).get("stream"):
        return b""
    try:
        return bytes(response.content)
    except Exception:  # requests will meet it again, and say it to the code under test
        return b""
