"""Streams of server-sent events: held until the first token, then handed on as they are.

The bytes are read beneath the client's own stream classes, and put back, so that streams,
`stream()` helpers, raw and streamed responses are the client's own and read the same.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

import anyio
from openai import APIConnectionError, APIError, APITimeoutError

from router_ml.dispatch.limits import Limit, http_module
from router_ml.dispatch.routing import Usage, usage_of

Ended = Callable[[BaseException | None, Usage | None], None]
"""Told once when a stream is over: what broke it, and the tokens it counted."""

_SILENT = {
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_summary_part.added",
}
"""Events of the Responses API that announce something and say nothing yet."""


class _Response(Protocol):
    stream: Any
    headers: Any
    request: Any


class _Data:
    """The data of server-sent events: bytes in, one payload a `data:` line out."""

    def __init__(self) -> None:
        self._open: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        self._open.append(chunk)
        if b"\n" not in chunk:
            return []
        *lines, rest = b"".join(self._open).split(b"\n")
        self._open = [rest]
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


class _Head:
    """The first bytes of a stream, kept until one of its events says something.

    A compressed stream, though none was asked for, is handed on from its first bytes.
    """

    def __init__(self, response: _Response) -> None:
        self.chunks: list[bytes] = []
        self._request = response.request
        self._data = _Data()
        self._readable = "content-encoding" not in response.headers

    def keep(self, chunk: bytes) -> bool:
        """Keep a chunk; say whether the stream has said something by now.

        Raises:
            APIError: an event is an error.
            json.JSONDecodeError: an event is no JSON.

        """
        self.chunks.append(chunk)
        if not self._readable:
            return True
        # All of them: an error right behind the first token comes before anyone has seen it.
        says = [self._says_something(data) for data in self._data.feed(chunk)]
        return any(says)

    def _says_something(self, data: bytes) -> bool:
        if data == b"[DONE]":
            return True
        event = json.loads(data)
        if not isinstance(event, Mapping):
            return True
        error = _error_in(event, self._request)
        if error is not None:
            raise error
        return says_something(event)

    def cut(self) -> APIConnectionError:
        """Return the error of a stream that ends before it says anything."""
        return APIConnectionError(
            message="The stream ended before its first token.", request=self._request
        )


def says_something(event: Mapping[str, Any]) -> bool:
    """Say whether an event carries any of the answer, or its end; announcements do not."""
    if "type" in event:
        return event["type"] not in _SILENT
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return event.get("usage") is not None
    return any(_choice_says_something(choice) for choice in choices if isinstance(choice, Mapping))


def _choice_says_something(choice: Mapping[str, Any]) -> bool:
    delta = choice.get("delta")
    said = {**delta, "role": None} if isinstance(delta, Mapping) else {}
    return bool(choice.get("finish_reason")) or any(said.values())


def _error_in(event: Mapping[str, Any], request: Any) -> APIError | None:
    """Return the error that an event is, as the client would raise it; None: it is none."""
    failed = event.get("response") if event.get("type") == "response.failed" else event
    failure = failed.get("error") if isinstance(failed, Mapping) else None
    if failure is None and event.get("type") == "error":
        failure = event
    if not failure:
        return None
    message = failure.get("message") if isinstance(failure, Mapping) else failure
    return APIError(str(message or "The stream is an error"), request, body=failure)


class _Relayed:
    """What a stream still has to say, with its head put back before it.

    It may be iterated twice: the client drains what it has not read, to reuse a connection.
    """

    def __init__(self, under: Any, response: _Response, limit: Limit, ended: Ended) -> None:
        self._under, self._response, self._limit, self._ended = under, response, limit, ended
        self.head: list[bytes] = []
        self.rest: Any = None
        self._data = _Data()
        self._counted: bytes = b""
        self._told: APIError | None = None
        self._is_over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._under, name)  # httpx reads the time elapsed from it

    def _heard(self, chunk: bytes) -> bytes:
        """Note what an event says of tokens or of an error, which the client raises itself."""
        for data in self._data.feed(chunk):
            if b'"usage"' in data:
                self._counted = data
            if b'"error"' in data:
                self._told = _error_in(_parsed(data), self._response.request) or self._told
        return chunk

    def _over(self, error: BaseException | None = None) -> None:
        if not self._is_over:
            self._is_over = True
            event = _parsed(self._counted)
            self._ended(error or self._told, usage_of(event.get("response", event)))

    def _broken(self, error: Exception) -> Exception:
        raised = as_openai(error, self._response)
        self._over(raised)
        return raised


class _SyncRelay(_Relayed):
    def __iter__(self) -> Iterator[bytes]:
        while self.head:
            yield self._heard(self.head.pop(0))
        while not self._is_over and (more := self._next()) is not None:
            heard = self._heard(more)
            if self._told:
                self.close()  # nothing follows an error, and not every client closes it then
            yield heard
        self._over()

    def _next(self) -> bytes | None:
        try:
            with self._limit.in_force():
                return next(self.rest, None)
        except Exception as error:
            raise self._broken(error) from error

    def close(self) -> None:
        try:
            self._under.close()
        finally:
            self._over()


class _AsyncRelay(_Relayed):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.head:
            yield self._heard(self.head.pop(0))
        while not self._is_over and (more := await self._next()) is not None:
            heard = self._heard(more)
            if self._told:
                await self.aclose()
            yield heard
        self._over()

    async def _next(self) -> bytes | None:
        try:
            with anyio.fail_after(self._limit.left_s()):
                return await anext(self.rest, None)
        except Exception as error:
            raise self._broken(error) from error

    async def aclose(self) -> None:
        try:
            await self._under.aclose()
        finally:
            self._over()


def relay(response: _Response, limit: Limit, ended: Ended, *, events: bool) -> None:
    """Put a relay beneath a response that is still open, and read its head.

    Args:
        response: httpx's, its body unread.
        limit: until when its body may take.
        ended: told when it is over.
        events: whether the body is server-sent events, of which the head is read; the body
            of any other response is its caller's to read.

    Raises:
        APIError: the stream fails before it says anything.
        json.JSONDecodeError: it babbles.

    """
    under = response.stream
    relayed = _bound(_SyncRelay, under, "SyncByteStream")(under, response, limit, ended)
    relayed.rest = iter(under)
    if events:
        relayed.head = _read_head(relayed.rest, response)
    response.stream = relayed


def _read_head(rest: Iterator[bytes], response: _Response) -> list[bytes]:
    head = _Head(response)
    try:
        if any(head.keep(chunk) for chunk in rest):
            return head.chunks
    except Exception as error:
        raise as_openai(error, response) from error
    raise head.cut()


async def relay_async(response: _Response, limit: Limit, ended: Ended, *, events: bool) -> None:
    """Do what `relay` does, for an async response."""
    under = response.stream
    relayed = _bound(_AsyncRelay, under, "AsyncByteStream")(under, response, limit, ended)
    relayed.rest = aiter(under)
    if events:
        relayed.head = await _read_head_async(relayed.rest, response)
    response.stream = relayed


async def _read_head_async(rest: AsyncIterator[bytes], response: _Response) -> list[bytes]:
    head = _Head(response)
    try:
        async for chunk in rest:
            if head.keep(chunk):
                return head.chunks
    except Exception as error:
        raise as_openai(error, response) from error
    raise head.cut()


def _bound(kind: Any, under: object, base: str) -> Any:
    """Return a relay of the byte-stream type that the response's HTTP library insists on."""
    return _subclass(kind, getattr(http_module(under), base))


@cache
def _subclass(kind: type, base: type) -> type:
    return type(kind.__name__, (kind, base), {})


def as_openai(error: Exception, response: _Response) -> Exception:
    """Return openai's exception for one of the HTTP library's; any other as it is."""
    http = http_module(response)
    if isinstance(error, TimeoutError | http.TimeoutException):
        return APITimeoutError(request=response.request)
    if isinstance(error, OSError | http.TransportError | anyio.EndOfStream):
        return APIConnectionError(
            message=str(error) or "Connection error.", request=response.request
        )
    return error


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(data)
    except ValueError:
        return {}
    return event if isinstance(event, Mapping) else {}
