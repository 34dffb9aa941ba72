"""Where a row keeps what it says, if it is laid out in a way that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from router_ml.errors import DataError

FIELDS = (
    "prompt", "messages", "label", "labels", "id", "group", "source", "lang", "split",
)  # fmt: skip
"""What may be mapped: the keys of a row as the project says it."""

Mapping = dict[str, str]
"""Field -> where the row keeps it: keys from outside in, joined by dots (`body.user.text`)."""


def read_mapping(pairs: Iterable[str]) -> Mapping:
    """Read `prompt=body.user.text`, one pair a field.

    Raises:
        DataError: a pair has no `=`, or names no field.

    """
    mapping: Mapping = {}
    for pair in pairs:
        field, equals, place = pair.partition("=")
        if not equals or not place or field not in FIELDS:
            raise DataError(
                f"--map {pair}", None, f"must be FIELD=PLACE, FIELD one of {', '.join(FIELDS)}."
            )
        mapping[field] = place
    return mapping


def look_up(row: dict[str, Any], place: str) -> Any:
    """Return what is at a place, None if nothing is; JSON in strings is read on the way.

    A row's own key comes first: CSV headers may have dots in them.
    """
    if place in row:
        return row[place]
    found: Any = row
    for key in place.split("."):
        found = _step(decoded(found), key)
    return found


def _step(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.lstrip("-").isdecimal():
        return value[int(key)] if -len(value) <= int(key) < len(value) else None
    return None


def decoded(value: Any) -> Any:
    """Return the object or list that a string is the JSON of; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return value
