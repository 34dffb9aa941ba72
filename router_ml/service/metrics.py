"""What the service has decided so far, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from router_ml.integrations.decision_log import version_of
from router_ml.router import Router
from router_ml.types import Decision, Reason

_ABSTAINED = (Reason.LOW_CONFIDENCE, Reason.EMPTY, Reason.UNREADABLE)
_LATENCIES_S = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 2e-2, 0.1, 1.0)
_CONFIDENCES = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """Counters and histograms of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._decisions = Counter(
            "router_ml_decisions", "Decisions.", ["route", "reason"], registry=registry
        )
        self._abstentions = Counter(
            "router_ml_abstentions", "Decisions without a sure judgement.", registry=registry
        )
        self._refusals = Counter(
            "router_ml_refusals", "Requests refused.", ["status"], registry=registry
        )
        self._confidence = Histogram(
            "router_ml_confidence", "Of decisions.", buckets=_CONFIDENCES, registry=registry
        )
        self._latency = Histogram(
            "router_ml_latency_seconds", "To decide.", buckets=_LATENCIES_S, registry=registry
        )
        self._artifact = Gauge(
            "router_ml_artifact_info", "The artifact in use.", ["version"], registry=registry
        )

    def count(self, decision: Decision) -> None:
        """Count a decision."""
        self._decisions.labels(decision.route, decision.reason.value).inc()
        self._confidence.observe(decision.confidence)
        if decision.reason in _ABSTAINED:
            self._abstentions.inc()

    def time(self, seconds: float) -> None:
        """Note how long one call's decisions took, a batch's together."""
        self._latency.observe(seconds)

    def refuse(self, status: int) -> None:
        """Count a request that got no decision."""
        self._refusals.labels(str(status)).inc()

    def text(self, router: Router) -> bytes:
        """Return everything in Prometheus' text format."""
        self._artifact.clear()  # after a reload another version is in use
        self._artifact.labels(version_of(router)).set(1)
        return generate_latest(self._registry)
