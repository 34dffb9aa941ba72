"""The service: three questions (a route, System One, its health), metrics, and its OpenAPI."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from router_ml.errors import RequestError
from router_ml.integrations.decision_log import version_of
from router_ml.integrations.gateway import conversation_of
from router_ml.router import Router
from router_ml.service.answers import answer, refusal
from router_ml.service.limits import Guard, read_body
from router_ml.service.metrics import Metrics
from router_ml.service.openapi import Health, document
from router_ml.service.systemone import Query, judge
from router_ml.types import Decision


class Limits(NamedTuple):
    """How much the service takes.

    Attributes:
        body_bytes: the longest body, in bytes.
        at_once: how many requests at a time; more are told to come again.
        batch: the most requests in one body.

    """

    body_bytes: int = 8_000_000
    at_once: int = 64
    batch: int = 1_000


class Service:
    """A router's HTTP face.

    Attributes:
        app: the ASGI application.
        router: what decides; a `ReloadingRouter` follows its files.

    """

    def __init__(
        self, router: Router, *, token: str | None = None, limits: Limits | None = None
    ) -> None:
        """Make the application.

        Args:
            router: what decides.
            token: the bearer token that callers must have; None: they need none.
            limits: how much it takes.

        """
        self.router, self._limits, self._metrics = router, limits or Limits(), Metrics()
        self._query = msgspec.json.Decoder(Query)
        guard = Middleware(Guard, token, self._limits.at_once, self._metrics.refuse)
        self.app = Starlette(
            routes=[
                Route("/v1/route", self.route, methods=["POST"]),
                Route("/v1/systemone", self.system_one, methods=["POST"]),
                Route("/healthz", self.health),
                Route("/metrics", self.metrics),
                Route("/openapi.json", self.openapi),
            ],
            middleware=[guard],
            exception_handlers={
                HTTPException: self._refuse,
                RequestError: self._refuse,
                ClientDisconnect: self._refuse,
            },
        )

    def warm(self) -> None:
        """Decide on what the artifact itself brings, so that no caller is the first."""
        for row in self.router.artifact.golden():
            self.router.route(row.turn)

    async def route(self, request: Request) -> Response:
        """Decide on a payload, or on each of a list of them."""
        body = await self._read(request)
        started = perf_counter()
        if isinstance(body, list):
            if len(body) > self._limits.batch:
                raise HTTPException(413, f"A batch has at most {self._limits.batch:,} requests.")
            decisions = await asyncio.to_thread(self.router.route_many, body)
        else:
            decisions = [self.router.route(body, conversation=_conversation(body))]
        self._note(decisions, perf_counter() - started)
        return answer(decisions if isinstance(body, list) else decisions[0])

    async def system_one(self, request: Request) -> Response:
        """Answer System One's questions on a text."""
        query = await self._read(request, self._query)
        started = perf_counter()
        judged = judge(self.router, query)
        self._note([judged.decision], perf_counter() - started)
        return answer(judged.reply)

    async def health(self, request: Request) -> Response:
        """Say that it is ready, and what is loaded: it does not listen before it is warm."""
        return answer(Health("ready", version_of(self.router)))

    async def metrics(self, request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        text = self._metrics.text(self.router)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """Return the description of all this."""
        return answer(document())

    async def _read(self, request: Request, decoder: Any = msgspec.json) -> Any:
        body = await read_body(request, self._limits.body_bytes)
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            raise HTTPException(422, f"{error}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HTTPException(400, f"The body is no JSON: {error}.") from error
        except RecursionError as error:
            raise HTTPException(400, "The body is nested too deeply.") from error

    def _note(self, decisions: list[Decision], took_s: float) -> None:
        self._metrics.time(took_s)
        for decision in decisions:
            self._metrics.count(decision)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 422
        self._metrics.refuse(status)
        why = error.detail if isinstance(error, HTTPException) else str(error)
        return refusal(status, why, getattr(error, "headers", None))


def _conversation(body: Any) -> str | None:
    metadata = body.get("metadata") if isinstance(body, dict) else None
    return conversation_of(metadata) if isinstance(metadata, dict) else None
