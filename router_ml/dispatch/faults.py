"""What an error says of the next step: raise it, or let another model try."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from json import JSONDecodeError
from math import isfinite

from openai import APIConnectionError, APIError, APIResponseValidationError, APIStatusError


class Fault(Enum):
    """Whom an error speaks of."""

    CALLER = auto()
    """The request or its key is bad, or the caller gave up: raised at once."""
    UNFIT = auto()
    """This model cannot do this request: its context is too small, it cannot see."""
    GONE = auto()
    """The provider does not have this model."""
    PASSING = auto()
    """The model is busy, down, slow or babbling; later it may not be."""


LONGEST_S = 3600.0
"""A model is left alone no longer than this, whatever its `Retry-After` says."""

_BABBLE = APIResponseValidationError | JSONDecodeError | UnicodeDecodeError
_PASSING = {408, 409, 429}
_UNFIT = {413, 415}  # content too large; a type of content that is not supported
_REFUSED = {400, 403, 422}  # by the status alone the caller's fault

# Providers agree on the status at most, so their words are read: "This model's maximum context
# length is" (OpenAI, vLLM), "prompt is too long", "exceed context limit" (Anthropic), "Input is
# too long" (Bedrock); "image_url is only supported by certain models" (OpenAI), "unknown variant
# `image_url`, expected `text`" (DeepSeek), "At most 0 image(s) may be provided" (vLLM).
_TOO_LONG = re.compile(
    r"context_length_exceeded|context (length|window|limit)|(prompt|input) is too long", re.I
)
_MODALITY = re.compile(r"image|audio|video|vision|multi-?modal|content type", re.I)
_REFUSAL = re.compile(
    r"not support|unsupported|only supported by|unknown variant|not a multi-?modal|at most 0 ",
    re.I,
)
_NO_MODEL = re.compile(
    r"model_not_found|model\b.{0,80}\b(not exist|not found|decommissioned|deprecated)", re.I
)
_CALLER_TYPES = {"invalid_request_error", "authentication_error", "permission_error"}


def fault_of(error: BaseException) -> Fault:
    """Say whom an error speaks of."""
    if isinstance(error, APIStatusError):
        return _fault_of_status(error.status_code, error)
    if isinstance(error, APIConnectionError | _BABBLE):
        return Fault.PASSING
    return _fault_of_event(error) if isinstance(error, APIError) else Fault.CALLER


def _fault_of_event(error: APIError) -> Fault:
    """Judge an error that a stream carries: providers put a status or a type into it."""
    code = str(error.code)  # before openai 3 it is whatever the provider says
    if code.isdigit():
        return _fault_of_status(int(code), error)
    return _fault_of_status(400, error) if error.type in _CALLER_TYPES else Fault.PASSING


def _fault_of_status(status: int, error: APIError) -> Fault:
    if status in _PASSING or status >= 500:
        return Fault.PASSING
    if status == 404:
        return Fault.GONE
    if status in _UNFIT:
        return Fault.UNFIT
    return _fault_of_words(f"{error.message} {error.body}") if status in _REFUSED else Fault.CALLER


def _fault_of_words(words: str) -> Fault:
    if _NO_MODEL.search(words):
        return Fault.GONE
    refuses_part = _MODALITY.search(words) and _REFUSAL.search(words)
    return Fault.UNFIT if refuses_part or _TOO_LONG.search(words) else Fault.CALLER


def name_of(error: BaseException) -> str:
    """Name an error by class and status; its message might quote the prompt or the key."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__


def retry_after_s(error: BaseException) -> float | None:
    """Return how many seconds, an hour at most, a response asks to be left alone.

    `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), or OpenAI's `retry-after-ms`.
    """
    if not isinstance(error, APIStatusError):
        return None
    headers = error.response.headers
    asked = (
        _milliseconds(headers.get("retry-after-ms", "")),
        _number(headers.get("retry-after", "")),
        _until(headers.get("retry-after", "")),
    )
    return next((min(max(s, 0.0), LONGEST_S) for s in asked if s is not None), None)


def _milliseconds(value: str) -> float | None:
    number = _number(value)
    return None if number is None else number / 1000


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _until(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
