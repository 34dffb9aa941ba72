"""What a client and its copies share: routers, circuits, logs. Makes a Call of a request."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from router_ml.chat import read_chat
from router_ml.dispatch.body import Controls, controls_of, routed_body
from router_ml.dispatch.call import Call
from router_ml.dispatch.circuits import Circuits
from router_ml.dispatch.decision_log import DecisionLog, fingerprint_of, row_of, said_by, summary_of
from router_ml.dispatch.routing import Routing, Usage
from router_ml.dispatch.telemetry import add_event, current_span
from router_ml.dispatch.trials import Comparison, Decides, canary_key, canary_of, compare
from router_ml.errors import DispatchError
from router_ml.request import Request
from router_ml.types import Decision

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions

log = logging.getLogger("router_ml.dispatch")


class Dispatcher:
    """What a client and its copies share; thread-safe.

    Attributes:
        attempt_s: seconds that one attempt may take: to its answer, or its first token.

    """

    def __init__(
        self,
        router: Decides,
        *,
        shadow: Decides | None = None,
        canary: tuple[Decides, float] | None = None,
        decision_log: DecisionLog | None = None,
        attempt_s: float,
    ) -> None:
        self._router, self._shadow, self._canary = router, shadow, canary_of(canary)
        self._decision_log = decision_log
        self._circuits = Circuits()
        self.attempt_s = attempt_s

    def call(
        self, options: FinalRequestOptions, *, timeout: Any, retries: int, endpoint: str
    ) -> Call | None:
        """Decide on a request; None: it names its model, or is no completion.

        Args:
            options: openai's description of the request.
            timeout: the time-out that applies to it.
            retries: attempts beyond one for each model.
            endpoint: where it is sent: a model has a circuit at each.

        Raises:
            DispatchError: its `routing` cannot be used, or its route names no model.

        """
        body = routed_body(options)
        if body is None:
            return None
        controls, read = controls_of(body), read_chat(body)
        router, is_canary = self._router_for(read, controls)
        routing = Routing(_decide(router, read, controls), [], canary=is_canary)
        shadow = self._compare(read, controls, routing)
        finish = partial(self._finish, router, read, shadow, current_span(), time.monotonic())
        return Call(
            options, body, routing, self._circuits, finish,
            timeout=timeout, attempt_s=self.attempt_s, retries=retries, endpoint=endpoint,
        )  # fmt: skip

    def _router_for(self, read: Request, controls: Controls) -> tuple[Decides, bool]:
        canary = self._canary
        if canary is not None and canary.takes(canary_key(read, controls.conversation)):
            return canary.router, True
        return self._router, False

    def _compare(self, read: Request, controls: Controls, routing: Routing) -> Comparison | None:
        if self._shadow is None:
            return None
        tags, conversation = controls.tags, controls.conversation
        return compare(self._shadow, read, tags, conversation, routing.decision)

    def _finish(
        self,
        router: Decides,
        read: Request,
        shadow: Comparison | None,
        span: Any,
        started: float,
        routing: Routing,
        usage: Usage | None,
    ) -> None:
        """Reckon what a request cost, and record it wherever someone listens."""
        routing.spend(usage, router.catalog)
        duration_s = time.monotonic() - started
        is_heard = log.isEnabledFor(logging.INFO)
        if not (is_heard or span or self._decision_log):
            return
        row = row_of(routing, duration_s, shadow)
        row |= fingerprint_of(read.turns)
        if is_heard:
            log.info(summary_of(routing, duration_s), extra={"routing": row})
        if span is not None:
            add_event(span, row)
        if self._decision_log is not None:
            to = self._decision_log
            to.write(row | said_by(read, to.scrub) if to.text else row)


def _decide(router: Decides, read: Request, controls: Controls) -> Decision:
    decision = router.route(read, tags=controls.tags, conversation=controls.conversation)
    if decision.model is None:
        raise DispatchError(
            f"The policy's route {decision.route!r} names no models, so nobody can be asked: "
            "give the router a policy that does."
        )
    return decision
