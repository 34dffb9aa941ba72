"""A provider of LLMs for trying things out: a local server that needs no key and knows nothing.

It speaks the Chat Completions and Responses protocols, streams included, answers with the name
of the model that was asked, and fails as it is told to:

    with Provider() as provider:
        provider.faults["moonshot-k2.5"] = ["500", "hang"]      # its next two requests
        client = RoutedOpenAI(base_url=provider.url, api_key="none")

    python examples/dispatch/provider.py                        # or on its own

Faults: an HTTP status ("429 retry-after=2"; "400 code=context_length_exceeded"), "drop" (closes
the connection without a word), "hang", "slow=0.5" (seconds), "drip" and "drip-head" (a byte now
and then), "malformed", "html", "error" (a status of 200 whose body is an error), and of streams
"cut" (after the first token), "cut-head" (before it), "stall=0.5" (after it, seconds; or for
good), "error-event", "late-error-event" and "compressed".
"""

from __future__ import annotations

import argparse
import gzip
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

WORDS = ("I ", "am ")
USAGE = {"input": 11, "cached": 4, "output": 7}


class Received(NamedTuple):
    """A request as it arrived."""

    path: str
    model: str
    body: dict[str, Any]
    raw: bytes
    headers: dict[str, str]


class Provider:
    """The server. Thread-safe; nothing of it is left when its `with` block ends.

    Attributes:
        url: the clients' `base_url`.
        received: every request so far.
        faults: model -> what its next requests get, in order; "*" after the last: ever after.
        open: connections that are open now.

    """

    def __init__(self, port: int = 0) -> None:
        self.received: list[Received] = []
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        self.closing = threading.Event()
        self.open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.provider = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Provider:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def models(self) -> list[str]:
        """Return which models were asked, in order."""
        return [request.model for request in self.received]

    def note(self, request: Received) -> str:
        """Remember a request and return the fault it gets; "": none."""
        with self._lock:
            self.received.append(request)
            faults = self.faults[request.model]
            return "" if not faults else faults[0] if faults[1:] == ["*"] else faults.pop(0)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 256
    provider: Provider

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what this is for."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.provider.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.provider.open.discard(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Be quiet."""

    def do_GET(self) -> None:
        """List the models."""
        self._json(200, {"object": "list", "data": [{"id": "auto", "object": "model"}]})

    def do_POST(self) -> None:
        """Answer, or fail as told."""
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw)
        model = str(body.get("model"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.server.provider.note(Received(self.path, model, body, raw, headers))
        name, _, value = fault.partition(" " if fault[:1].isdigit() else "=")
        getattr(self, f"_{name.replace('-', '_')}", self._status)(name, value, body)

    def _status(self, name: str, value: str, body: dict[str, Any]) -> None:
        if not name:
            return self._answer(body)
        said = dict(part.split("=", 1) for part in value.split())
        wait = {"retry-after": said.pop("retry-after")} if "retry-after" in said else {}
        error = {"message": f"Told to fail: {name}", "type": "told", "code": None, **said}
        return self._json(int(name), {"error": error}, wait)

    def _answer(self, body: dict[str, Any]) -> None:
        if body.get("stream"):
            return self._stream(self._events(body))
        return self._json(200, self._whole(body))

    def _drop(self, *_: object) -> None:
        self.close_connection = True

    def _hang(self, *_: object) -> None:
        self.server.provider.closing.wait()
        self.close_connection = True

    def _slow(self, _: str, seconds: str, body: dict[str, Any]) -> None:
        self.server.provider.closing.wait(float(seconds))
        self._answer(body)

    def _drip(self, _: str, __: str, body: dict[str, Any]) -> None:
        kind = "text/event-stream" if body.get("stream") else "application/json"
        self._head(200, kind, {"content-length": "1000000"})
        self._drip_bytes()

    def _drip_head(self, *_: object) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
        self._drip_bytes()

    def _drip_bytes(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            while not self.server.provider.closing.wait(0.05):
                self.wfile.write(b"\n" if self._headers_sent else b"x")

    def _malformed(self, _: str, __: str, body: dict[str, Any]) -> None:
        if body.get("stream"):
            return self._stream(['{"id": "x", "choices": [{"del'])
        return self._bytes(200, "application/json", b'{"id": "x", "choices": [{"mess')

    def _html(self, *_: object) -> None:
        self._bytes(200, "text/html", b"<html>Please log in</html>")

    def _error(self, *_: object) -> None:
        self._json(200, {"error": {"message": "Told to fail", "code": 502}})

    def _error_event(self, *_: object) -> None:
        self._stream([json.dumps({"error": {"message": "Told to fail", "code": "overloaded"}})])

    def _compressed(self, _: str, __: str, body: dict[str, Any]) -> None:
        events = "".join(f"data: {event}\n\n" for event in self._events(body))
        data = gzip.compress(f"{events}data: [DONE]\n\n".encode())
        self._bytes(200, "text/event-stream", data, {"content-encoding": "gzip"})

    def _late_error_event(self, _: str, __: str, body: dict[str, Any]) -> None:
        error = {"error": {"message": "Told to fail", "code": "overloaded"}}
        self._stream([*list(self._events(body))[:4], json.dumps(error)])

    def _cut(self, _: str, __: str, body: dict[str, Any]) -> None:
        self._stream(list(self._events(body))[:4], is_whole=False)

    def _cut_head(self, _: str, __: str, body: dict[str, Any]) -> None:
        self._stream(list(self._events(body))[:1], is_whole=False)

    def _stall(self, _: str, seconds: str, body: dict[str, Any]) -> None:
        events = list(self._events(body))
        self._stream(events[:4], is_whole=False)
        self.server.provider.closing.wait(float(seconds) if seconds else None)
        self._stream(events[4:], is_begun=True)

    def _whole(self, body: dict[str, Any]) -> dict[str, Any]:
        text = "".join((*WORDS, f"{body.get('model')}."))
        return (_response if "/responses" in self.path else _completion)(body, text)

    def _events(self, body: dict[str, Any]) -> Iterator[str]:
        make = _response_events if "/responses" in self.path else _chunks
        return (json.dumps(event) for event in make(body))

    def _stream(self, events: Any, *, is_begun: bool = False, is_whole: bool = True) -> None:
        if not is_begun:
            self._head(200, "text/event-stream", {"transfer-encoding": "chunked"})
        for event in events:
            self._chunk(f"data: {event}\n\n".encode())
        if is_whole:
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        else:
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._bytes(status, "application/json", json.dumps(body).encode(), headers)

    def _bytes(
        self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self._head(status, kind, {"content-length": str(len(data)), **(headers or {})})
        self.wfile.write(data)

    _headers_sent = False

    def _head(self, status: int, kind: str, headers: dict[str, str]) -> None:
        self._headers_sent = True
        self.send_response(status)
        for name, value in {"content-type": kind, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    if "response_format" in body:
        text = json.dumps({"answer": text})
    message = {"role": "assistant", "content": text}
    choices = [
        {"index": index, "message": message, "finish_reason": "stop"}
        for index in range(body.get("n") or 1)
    ]
    return _named(body, "chat.completion", choices=choices, usage=_chat_usage())


def _chunks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = "".join((*WORDS, f"{body['model']}."))
    words = [json.dumps({"answer": text})] if "response_format" in body else [*WORDS, body["model"]]
    yield _chunk(body, {"role": "assistant", "content": ""})
    for word in words:
        yield _chunk(body, {"content": word})
    yield _chunk(body, {}, finish_reason="stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _named(body, "chat.completion.chunk", choices=[], usage=_chat_usage())


def _chunk(
    body: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _named(body, "chat.completion.chunk", choices=[choice])


def _named(body: dict[str, Any], kind: str, **rest: Any) -> dict[str, Any]:
    return {"id": "c-1", "object": kind, "created": 1, "model": body["model"], **rest}


def _chat_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": USAGE["input"],
        "completion_tokens": USAGE["output"],
        "total_tokens": USAGE["input"] + USAGE["output"],
        "prompt_tokens_details": {"cached_tokens": USAGE["cached"]},
    }


def _response(body: dict[str, Any], text: str, status: str = "completed") -> dict[str, Any]:
    text = json.dumps({"answer": text}) if "text" in body else text
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "m-1", "type": "message", "role": "assistant", "status": status}
    is_done = status == "completed"
    return {
        **_named(body, "response"),
        "created_at": 1,
        "status": status,
        "error": None,
        "output": [{**message, "content": content}] if is_done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _responses_usage() if is_done else None,
    }


def _responses_usage() -> dict[str, Any]:
    return {
        "input_tokens": USAGE["input"],
        "input_tokens_details": {"cached_tokens": USAGE["cached"]},
        "output_tokens": USAGE["output"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": USAGE["input"] + USAGE["output"],
    }


def _response_events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    words = (*WORDS, f"{body['model']}.")
    text = "".join(words)
    at = {"item_id": "m-1", "output_index": 0, "content_index": 0}
    item = {"id": "m-1", "type": "message", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    events = [
        {"type": "response.created", "response": _response(body, "", "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": word} for word in words),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.completed", "response": _response(body, text)},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A provider of LLMs for trying things out.")
    parser.add_argument("--port", type=int, default=8765, help="0: any that is free")
    with Provider(parser.parse_args().port) as provider, suppress(KeyboardInterrupt):
        print(f"Serving at {provider.url}", flush=True)
        provider.closing.wait()


if __name__ == "__main__":
    main()
