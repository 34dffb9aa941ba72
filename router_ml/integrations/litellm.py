"""The classifier plugin of LiteLLM's complexity router (litellm 1.99 or later).

One line of its configuration, with `classifier_type: custom`, names one of three:

    classifier_plugin: router_ml.integrations.litellm.by_route

- `by_route` answers with the route, so that tiers are named as the policy names its routes;
- `by_model` answers with the model, where the tiers are named after the models they hold;
- `by_complexity` answers with LiteLLM's own tiers, SIMPLE to REASONING.

Each is made when it is first asked for, from the files that the environment names (see
`load_from_environment`). For anything else, a module beside the configuration makes its own:

    from router_ml import Router
    from router_ml.integrations.litellm import TierClassifier

    mine = TierClassifier(Router.load(policy="policy.toml"), tiers={"math": "REASONING"})

LiteLLM does not show a plugin the tools of a request, nor requests that are nothing but an
image: `router_ml.integrations.litellm_hook` sees both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from router_ml.integrations.gateway import Gateway, load_from_environment
from router_ml.router import Router
from router_ml.types import Decision, Reason

COMPLEXITY = {
    "general": "SIMPLE",
    "chinese": "MEDIUM",
    "vision": "COMPLEX",
    "audio": "COMPLEX",
    "math": "REASONING",
}
"""The shipped policy's routes -> LiteLLM's own tiers."""

_DECLINED = (Reason.LOW_CONFIDENCE, Reason.EMPTY, Reason.UNREADABLE)


class TierClassifier:
    """Answers LiteLLM with the name of a tier, or None where it should fall back.

    It declines what it is unsure of, by the policy's `[uncertain]`, and what says nothing:
    then LiteLLM's `fallback_tier` or `classifier_fallback` applies.
    """

    def __init__(
        self,
        router: Router,
        *,
        by: Literal["route", "model"] = "route",
        tiers: Mapping[str, str] | None = None,
    ) -> None:
        """Wrap a router.

        Args:
            router: what decides.
            by: what of a decision names the tier.
            tiers: that name -> the tier's, where they differ.

        """
        self._gateway = Gateway(router, "litellm classifier")
        self._by, self._tiers = by, dict(tiers or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> TierClassifier:
        """Return itself: LiteLLM copies its model list, and one session serves all copies."""
        return self

    async def classify(self, context: Any) -> str | None:
        """Name the tier of a request, given LiteLLM's `RoutingContext`."""
        metadata = context.metadata
        timed = await self._gateway.decide(context.structured_messages, metadata)
        tier = self._tier(timed.decision)
        self._gateway.log(timed, tier, metadata.get("trace_id"))
        return tier

    def _tier(self, decision: Decision) -> str | None:
        if decision.reason in _DECLINED:
            return None
        name = decision.route if self._by == "route" else decision.model
        return None if name is None else self._tiers.get(name, name)


@cache
def __getattr__(name: str) -> TierClassifier:
    """Make an instance when it is asked for: importing the module loads nothing."""
    if name == "by_route":
        return TierClassifier(load_from_environment())
    if name == "by_model":
        return TierClassifier(load_from_environment(), by="model")
    if name == "by_complexity":
        return TierClassifier(load_from_environment(), tiers=COMPLEXITY)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
