"""The pre-call hook of LiteLLM's proxy: any version, any request, any number of models.

    litellm_settings:
      callbacks: router_ml.integrations.litellm_hook.hook

A request for the model `auto` gets the model that the policy chooses, so `model_list` must
have every model the policy names, and an `auto` for what cannot be decided on. `hook` is
made when it is first asked for, from the files that the environment names (see
`load_from_environment`) and `ROUTER_ML_AUTO`, another name for `auto`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from functools import cache
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from router_ml.integrations.gateway import Gateway, load_from_environment
from router_ml.router import Router

_log = logging.getLogger(__name__)


class RoutingHook(CustomLogger):
    """Names the model of requests for `auto`; whatever goes wrong, they stay as they were.

    It goes by the whole payload: `/v1/chat/completions`, `/v1/messages` and `/v1/responses`,
    with images, tools and the caller's metadata. The record of the decision is in LiteLLM's
    own log as well, under `spend_logs_metadata`. Of the policy's parameters, those that the
    caller did not set are added to chat completions, whose parameters they are.
    """

    def __init__(self, router: Router, auto: str = "auto") -> None:
        """Wrap a router; `auto` is the model of requests that it decides on."""
        super().__init__()
        self._gateway, self._auto = Gateway(router, "litellm hook"), auto

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Set `data["model"]`, and return data."""
        if data.get("model") == self._auto:
            try:
                await self._route(data, call_type)
            except Exception:  # a request must not fail for being routed
                _log.exception("A request could not be routed and goes on as it came.")
        return data

    async def _route(self, data: dict[str, Any], call_type: str) -> None:
        metadata = data.get("litellm_metadata", data.get("metadata"))
        timed = await self._gateway.decide(data, metadata)
        decision = timed.decision
        record = self._gateway.log(timed, decision.model, data.get("litellm_call_id"))
        if decision.model is None:
            return
        if isinstance(metadata, MutableMapping):
            noted = metadata.get("spend_logs_metadata") or {}
            metadata["spend_logs_metadata"] = {**noted, "router_ml": record}
        if call_type in ("completion", "acompletion"):
            data.update({k: v for k, v in decision.parameters.items() if k not in data})
        data["model"] = decision.model


@cache
def __getattr__(name: str) -> RoutingHook:
    """Make the instance when it is asked for: importing the module loads nothing."""
    if name == "hook":
        return RoutingHook(load_from_environment(), os.environ.get("ROUTER_ML_AUTO") or "auto")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
