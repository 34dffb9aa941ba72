"""Thresholds written into a policy file, which keeps its comments and all else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

import msgspec

from router_ml.errors import PolicyError
from router_ml.policy import Policy

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def policy_with(text: str, thresholds: Mapping[str, float]) -> str:
    """Return a policy's TOML with these thresholds and all else, comments too, as it was.

    Args:
        text: a policy that loads; its thresholds, if any, in a [thresholds] table.
        thresholds: label -> threshold.

    Raises:
        PolicyError: its thresholds are written another way than as a table.

    """
    old = msgspec.convert(tomllib.loads(text), Policy)
    new = _edit(text, thresholds)
    wanted = msgspec.structs.replace(old, thresholds={**old.thresholds, **thresholds})
    try:
        if msgspec.convert(tomllib.loads(new), Policy) == wanted:
            return new
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        pass
    raise PolicyError(
        "The policy's thresholds cannot be edited where they stand: "
        "write them as a [thresholds] table, one line for each label."
    )


def _edit(text: str, thresholds: Mapping[str, float]) -> str:
    """Replace the lines of the [thresholds] table, or add what it lacks."""
    lines = text.splitlines()
    header = next((at for at, line in enumerate(lines) if _is_header(line)), None)
    if header is None:
        header = len(lines) + 1
        lines += ["", "[thresholds]"]
    end = next((at for at in range(header + 1, len(lines)) if _opens_table(lines[at])), len(lines))
    missing = dict(thresholds)
    for at in range(header + 1, end):
        label = lines[at].partition("=")[0].strip().strip("\"'")
        if label in missing:
            _, mark, comment = lines[at].partition("#")
            lines[at] = _line(label, missing.pop(label)) + (f"  {mark}{comment}" if mark else "")
    lines[header + 1 : header + 1] = [_line(*item) for item in missing.items()]
    return "\n".join(lines) + "\n"


def _is_header(line: str) -> bool:
    return "".join(line.partition("#")[0].split()) == "[thresholds]"


def _opens_table(line: str) -> bool:
    return line.lstrip().startswith("[")


def _line(label: str, threshold: float) -> str:
    key = label if _BARE_KEY.fullmatch(label) else msgspec.json.encode(label).decode()
    return f"{key} = {threshold:g}"
