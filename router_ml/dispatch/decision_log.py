"""One record a request: JSON Lines, a log record, an OpenTelemetry event.

    {"time": "…", "route": "math", "model": "moonshot-k2.5", "labels": ["math"], …,
     "sha256": "…", "characters": 1234}

With `text=True` a line carries the request's `messages` instead of hash and length, and so is
what `router-ml train` and `evaluate` read: its `labels` are the classifier's own, to be
corrected before anything learns from them.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from hashlib import sha256
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import msgspec

from router_ml.dispatch.routing import Routing
from router_ml.dispatch.trials import Comparison
from router_ml.errors import DispatchError
from router_ml.logs.scrubbing import Scrub, make_scrub
from router_ml.request import Request, Turn

log = logging.getLogger(__name__)


class DecisionLog:
    """A file of decisions, rotated by size. Thread-safe; close it when the program ends.

    Attributes:
        text: whether lines carry what the request says.
        scrub: what is done to it before it is written.

    """

    def __init__(
        self,
        path: Path | str,
        *,
        text: bool = False,
        max_bytes: int = 50_000_000,
        backups: int = 5,
        scrub: str = "",
    ) -> None:
        """Open a file for appending.

        Args:
            path: the file; older ones are kept beside it as `path.1`, `path.2` ….
            text: whether to write what requests say; else its SHA-256 and length.
            max_bytes: the size from which a new file is begun.
            backups: how many older files are kept.
            scrub: a country, to take e-mail addresses, phone numbers as they are dialled
                there, keys and card numbers out of what is written; "": do not.

        Raises:
            DataError: there is no such country.
            MissingExtra: scrubbing needs the extra `scrub`.
            DispatchError: the file cannot be opened.

        """
        self.text = text
        self.scrub: Scrub = make_scrub(scrub) if scrub else str
        try:
            self._file = RotatingFileHandler(
                path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8"
            )
        except OSError as error:
            raise DispatchError(f"{path} cannot be written: {error.strerror}.") from error

    def write(self, row: dict[str, Any]) -> None:
        """Append a line; a full disk is reported as `logging` does, and breaks no request."""
        line = msgspec.json.encode(row).decode()
        self._file.handle(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def row_of(routing: Routing, duration_s: float, shadow: Comparison | None) -> dict[str, Any]:
    """Return what is written of every request, whatever it says."""
    decision, usage = routing.decision, routing.usage
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "route": decision.route,
        "model": routing.model,
        "labels": list(decision.labels),
        "reason": decision.reason,
        "confidence": round(decision.confidence, 4),
        "canary": routing.canary,
        "shadow": shadow and msgspec.structs.asdict(shadow),
        "attempts": [
            {"model": one.model, "ms": round(one.duration_s * 1000, 1), "error": one.error}
            for one in routing.attempts
        ],
        "duration_ms": round(duration_s * 1000, 1),
        "input_tokens": usage and usage.input_tokens,
        "cached_input_tokens": usage and usage.cached_input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "cost_usd": routing.cost,
        "baseline_cost_usd": routing.baseline_cost,
        "error": routing.error,
    }


def said_by(read: Request, scrub: Scrub = str) -> dict[str, Any]:
    """Return what a request says, as `router-ml train` and `evaluate` read it.

    Images and audio are named and left out: only that they are there decides.
    """
    messages: list[dict[str, Any]] = [
        {"role": _sayable(turn.role), "content": _sayable(scrub(turn.text))} for turn in read.turns
    ]
    parts = {"image_url": read.has_image, "input_audio": read.has_audio}
    carried = [{"type": kind} for kind, is_there in parts.items() if is_there]
    if carried and messages:
        messages[-1]["content"] = [{"type": "text", "text": messages[-1]["content"]}, *carried]
    return {"messages": messages}


def _sayable(text: str) -> str:
    """Return a text that UTF-8 can say: a lone surrogate becomes '?'."""
    return text.encode("utf-8", "replace").decode()


def fingerprint_of(turns: tuple[Turn, ...]) -> dict[str, Any]:
    """Return the hash and length of what a request says."""
    text = "\n".join(turn.text for turn in turns)
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()
    return {"sha256": digest, "characters": len(text)}


def summary_of(routing: Routing, duration_s: float) -> str:
    """Return one sentence on a request, for people."""
    where = f"{routing.route} -> {routing.model or 'nobody'}"
    spent = "" if routing.cost is None else f", ${routing.cost:.6f}"
    broken = f", {routing.error}" if routing.error else ""
    tries = len(routing.attempts)
    return f"{where}: attempts {tries}, {duration_s:.3f} s{spent}{broken}"
