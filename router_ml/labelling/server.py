"""A session as a local page: for this machine alone, and for whoever has its address.

The page is served on the loopback interface under a path that no one can guess, to requests
that name this machine as their host (a page elsewhere whose name is made to point here does
not). It asks nothing of any network, and what the log says is never markup in it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from router_ml.errors import LabellingError
from router_ml.labelling.session import Session

_HERE = Path(__file__).parent
_HOSTS = ("127.0.0.1", "localhost")
_LONGEST_BODY = 1 << 16
_WAIT_S = 30
"""For a client that sends nothing."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends: the key of the question it shows, and labels for it."""

    key: str = ""
    labels: list[str] = []


class LabelServer(ThreadingHTTPServer):
    """Serves one session; `serve_forever` until it is shut down.

    Attributes:
        url: the address of the page, its secret included.

    """

    daemon_threads = True

    def __init__(self, session: Session, *, port: int = 0, guideline: str = "") -> None:
        """Listen on the loopback interface.

        Args:
            session: to serve.
            port: 0: any that is free.
            guideline: shown on the page.

        Raises:
            LabellingError: the port is taken.

        """
        try:
            super().__init__((_HOSTS[0], port), _Handler)
        except OSError as error:
            why = f"Port {port} cannot be listened on: {error.strerror or error}."
            raise LabellingError(f"{why} Leave out --port for a free one.") from error
        self.token = secrets.token_urlsafe(24)
        self.url = f"http://{_HOSTS[0]}:{self.server_port}/{self.token}/"
        self.nonce = secrets.token_urlsafe(16)
        self.page = _page(guideline, self.nonce)
        self.session = session
        self.actions: dict[str, Callable[[_Asked], None]] = {
            "answer": lambda asked: session.answer(asked.key, asked.labels),
            "skip": lambda asked: session.skip(asked.key),
            "undo": lambda asked: session.undo(),
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


def _page(guideline: str, nonce: str) -> bytes:
    text = (_HERE / "label.html").read_text(encoding="utf-8")
    parts = {
        "{{style}}": (_HERE / "label.css").read_text(encoding="utf-8"),
        "{{script}}": (_HERE / "label.js").read_text(encoding="utf-8"),
        "{{nonce}}": nonce,
        "{{guideline}}": escape(guideline),  # last: what it says is no place of the template
    }
    for place, content in parts.items():
        text = text.replace(place, content)
    return text.encode("utf-8", "replace")


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    timeout = _WAIT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Be quiet: the address is a secret."""

    def do_GET(self) -> None:
        """Serve the page, or where the session stands."""
        match self._place():
            case "":
                policy = (
                    f"default-src 'none'; style-src 'nonce-{self.server.nonce}'; "
                    f"script-src 'nonce-{self.server.nonce}'; connect-src 'self'; img-src data:; "
                    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                )
                kind = "text/html; charset=utf-8"
                self._send(200, kind, self.server.page, {"Content-Security-Policy": policy})
            case "state":
                self._state()
            case _:
                self._refuse(404, "There is nothing here.")

    def do_POST(self) -> None:
        """Take an answer, a skip or an undo, and say where the session stands then."""
        act = self.server.actions.get(self._place() or "")
        if act is None:
            return self._refuse(404, "There is nothing here.")
        try:
            act(self._asked())
        except msgspec.DecodeError:
            return self._refuse(400, "That is no answer.")
        except LabellingError as error:
            return self._refuse(409, str(error))
        except OSError as error:
            return self._refuse(500, f"The answer is not saved: {error.strerror or error}.")
        return self._state()

    def _place(self) -> str | None:
        """Return what is asked for; None without the secret, or by another host's name."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        _, token, place = [*self.path.split("/", 2), "", ""][:3]
        is_known = hmac.compare_digest(token.encode(), self.server.token.encode())
        return place if is_known and host in _HOSTS else None

    def _asked(self) -> _Asked:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            raise msgspec.DecodeError
        try:
            return msgspec.json.decode(self.rfile.read(int(length)), type=_Asked)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError from error

    def _state(self) -> None:
        body = msgspec.json.encode(self.server.session.state())
        self._send(200, "application/json", body)

    def _refuse(self, status: int, problem: str) -> None:
        self._send(status, "application/json", msgspec.json.encode({"problem": problem}))

    def _send(
        self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        size = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in {**size, **_HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
