"""One JSON object for each decision, in the log that the operator chose.

A gateway's own log has room for a name at most. These say why it was chosen:

    {"time": "2026-05-04T10:00:00.123Z", "door": "litellm classifier", "call": "…",
     "answer": "math", "took_us": 61, "route": "math", "model": "moonshot-k2.5",
     "labels": ["math"], "probabilities": {"math": 0.98, …}, "reason": "classified",
     "confidence": 0.98, "truncated": false, "artifact": "default 1f0c9a2b"}

No word of a request is in it, nor anything of its metadata but the gateway's own id of the call.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from router_ml.artifact import MODEL
from router_ml.router import Router
from router_ml.types import Decision

log = logging.getLogger("router_ml.decisions")
"""Where records go, at level INFO; attach any handler."""


def follow(path: Path | str) -> None:
    """Append the records to a file, and to nothing else."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def write(record: dict[str, Any]) -> None:
    """Log a record, if anyone listens."""
    if log.isEnabledFor(logging.INFO):
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log.info("%s", msgspec.json.encode({"time": now, **record}).decode())


def record_of(decision: Decision, router: Router) -> dict[str, Any]:
    """Return what a decision was and what it rests on, for JSON."""
    return {
        "route": decision.route,
        "model": decision.model,
        "labels": decision.labels,
        "probabilities": {label: round(p, 4) for label, p in decision.probabilities.items()},
        "reason": decision.reason.value,
        "confidence": round(decision.confidence, 4),
        "truncated": decision.truncated,
        "artifact": version_of(router),
    }


def version_of(router: Router) -> str:
    """Return the name and the beginning of the graph's hash of each artifact that is asked."""
    configs = [each.config for each in (router.artifact, router.second) if each]
    return " + ".join(f"{each.name} {each.files[MODEL].sha256[:8]}" for each in configs)
