"""The service's OpenAPI document; its schemas are made of the types it reads and writes."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from router_ml import __version__
from router_ml.service.answers import Refusal
from router_ml.service.systemone import Query, Reply
from router_ml.types import Decision

_Json = dict[str, Any]

_PAYLOAD = {"description": "A Chat Completions, Messages or Responses payload, or a prompt."}
_REFUSALS = {
    400: "The body is no JSON.",
    401: "The bearer token is missing or wrong.",
    413: "The body or the batch is too long.",
    503: "There are too many requests at once; `Retry-After` says when to come again.",
}
_UNANSWERED = {422: "The body is no query, or asks for names that the policy does not know."}


class Health(msgspec.Struct, frozen=True):
    """That it is ready, and which artifact is loaded."""

    status: str
    artifact: str


@cache
def document() -> _Json:
    """Return the document, for JSON."""
    (query, reply, decision, health, refusal), schemas = msgspec.json.schema_components(
        (Query, Reply, Decision, Health, Refusal), ref_template="#/components/schemas/{name}"
    )
    refusals = {status: _json(why, refusal) for status, why in _REFUSALS.items()}
    unanswered = {status: _json(why, refusal) for status, why in _UNANSWERED.items()}
    token = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "router-ml",
            "version": __version__,
            "description": "Decides which model gets a request. It never sends one.",
        },
        "paths": {
            "/v1/route": {"post": _route(decision, refusals)},
            "/v1/systemone": {"post": _choose(query, reply, refusals | unanswered)},
            "/healthz": {"get": {"summary": "Say it is ready.", "responses": _responses(health)}},
            "/metrics": {"get": _metrics(refusals[401])},
        },
        "components": {"schemas": schemas, "securitySchemes": {"token": token}},
        "security": [{}, {"token": []}],
    }


def _route(decision: _Json, refusals: dict[int, _Json]) -> _Json:
    return {
        "summary": "Decide on a request, or on each of a list of them.",
        "requestBody": _body(_one_or_many(_PAYLOAD)),
        "responses": _responses(_one_or_many(decision), refusals),
    }


def _choose(query: _Json, reply: _Json, refusals: dict[int, _Json]) -> _Json:
    return {
        "summary": "Choose among names, with the probability of each.",
        "requestBody": _body(query),
        "responses": _responses(reply, refusals),
    }


def _metrics(unauthorised: _Json) -> _Json:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    metrics = {"description": "Prometheus' text format.", "content": plain}
    return {
        "summary": "Say what was decided so far.",
        "responses": {"200": metrics, "401": unauthorised},
    }


def _one_or_many(schema: _Json) -> _Json:
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def _json(description: str, schema: _Json) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: _Json) -> _Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(schema: _Json, refusals: dict[int, _Json] | None = None) -> _Json:
    answers = {200: _json("The answer.", schema), **(refusals or {})}
    return {str(status): content for status, content in answers.items()}
