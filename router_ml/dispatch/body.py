"""The body of a request: whether it asks to be routed, and what the decision puts into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from router_ml.errors import DispatchError

AUTO = "auto"
"""The `model` that asks to be routed."""

PATHS = ("/chat/completions", "/responses")

_SAME = (
    {"max_tokens", "max_completion_tokens", "max_output_tokens"},
    {"reasoning_effort", "reasoning"},
)
"""Names of one parameter: a caller who set one of them has set them all."""


class Controls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller says to the router, in `extra_body={"routing": {…}}`.

    Attributes:
        tags: for the policy's rules, beside the request's `metadata`.
        conversation: the caller's key of the conversation.

    """

    tags: dict[str, str | bool | int | float] = {}
    conversation: str | None = None


class Options(Protocol):
    """The part of openai's `FinalRequestOptions` that is read here."""

    method: str
    url: str
    json_data: Any
    extra_json: Any


def routed_body(options: Options) -> dict[str, Any] | None:
    """Return the body of a request that is to be routed, `extra_body` included; else None."""
    if options.url not in PATHS or not isinstance(options.json_data, Mapping):
        return None
    body = {**options.json_data, **(options.extra_json or {})}
    return body if body.get("model") == AUTO and options.method.lower() == "post" else None


def controls_of(body: Mapping[str, Any]) -> Controls:
    """Read a body's `routing`.

    Raises:
        DispatchError: it has an unknown key or a value of the wrong type.

    """
    try:
        return msgspec.convert(body.get("routing") or {}, Controls)
    except msgspec.ValidationError as error:
        raise DispatchError(f"extra_body's `routing` cannot be used: {error}.") from error


def additions(
    body: Mapping[str, Any], options: Options, model: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what to send over the caller's arguments: `extra_body`, a model, parameters."""
    extra = {name: value for name, value in (options.extra_json or {}).items() if name != "routing"}
    unset = {name: value for name, value in parameters.items() if not _is_set(name, body)}
    return {
        **(_for_responses(unset) if options.url == "/responses" else unset),
        **extra,
        "model": model,
    }


def uncompressed(headers: Any) -> dict[str, Any]:
    """Return headers that ask for a body as it is, so that a stream's events can be read."""
    return {"Accept-Encoding": "identity", **(headers if isinstance(headers, Mapping) else {})}


def _is_set(name: str, body: Mapping[str, Any]) -> bool:
    names = next((same for same in _SAME if name in same), {name})
    return not names.isdisjoint(body)


def _for_responses(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Say Chat Completions parameters, in which policies are written, in the Responses API's."""
    said = dict(parameters)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in said:
            said["max_output_tokens"] = said.pop(name)
    if "reasoning_effort" in said:
        said["reasoning"] = {"effort": said.pop("reasoning_effort")}
    return said
