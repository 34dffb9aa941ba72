"""What keeps the service up: its token, how many requests it takes at once, and how large."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from router_ml.service.answers import refusal


class Guard:
    """Middleware in front of the decisions: refuses strangers, and too many at once.

    Only /v1 and /metrics are guarded, and only /v1 takes places: a probe has no token, and
    must get through when every place is taken.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, at_once: int, refused: Callable[[int], None]
    ) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            token: the bearer token that callers must have; None: they need none.
            at_once: how many requests at a time are let in.
            refused: told the status of each refusal.

        """
        self._app, self._places, self._refused = app, at_once, refused
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let it take a place for as long as it lasts."""
        path = scope.get("path", "")
        refused = self._refusal(scope, path)
        if refused is not None:
            self._refused(refused.status_code)
            await refused(scope, receive, send)
            return
        taken = path.startswith("/v1/")
        self._places -= taken
        try:
            await self._app(scope, receive, send)
        finally:
            self._places += taken

    def _refusal(self, scope: Scope, path: str) -> Response | None:
        if scope["type"] != "http" or not path.startswith(("/v1/", "/metrics")):
            return None
        if not self._knows(scope):
            why = "The bearer token is missing or wrong."
            return refusal(401, why, {"WWW-Authenticate": "Bearer"})
        if path.startswith("/v1/") and self._places <= 0:
            return refusal(503, "There are too many requests at once.", {"Retry-After": "1"})
        return None

    def _knows(self, scope: Scope) -> bool:
        """Compare tokens in a time that says nothing of how much of one was right."""
        if self._expected is None:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return compare_digest(given, self._expected)


async def read_body(request: Request, most: int) -> bytes:
    """Read a request's body, but no more of it than allowed.

    Raises:
        HTTPException: 413, it is longer.

    """
    too_long = HTTPException(413, f"The body is longer than {most:,} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_long
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_long
    return bytes(body)
