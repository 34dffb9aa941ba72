"""A policy and a catalog as a configuration of LiteLLM's proxy: the whole gateway in one file.

Whoever calls it asks for the model `auto`, at one base URL with one key. Where LiteLLM's
tiers can say what the policy says, the classifier plugin decides; where they cannot, the
pre-call hook does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from router_ml.catalog import Model
from router_ml.errors import PolicyError
from router_ml.plurals import counted
from router_ml.policy import Policy
from router_ml.router import Router

_Json = dict[str, Any]

_MOST_TIERS, _LONGEST_NAME = 8, 64
_PLUGIN = "router_ml.integrations.litellm.by_model"
_HOOK = "router_ml.integrations.litellm_hook.hook"
_HEAD = """\
# Written by `router-ml litellm-config`. Start it with `litellm --config FILE`, with
# OPENAI_BASE_URL, OPENAI_API_KEY and LITELLM_MASTER_KEY set, and ask for the model `auto`.
"""
_SAID = "# The pre-call hook decides, not the classifier plugin, since {}.\n"


def configuration(router: Router, environment: dict[str, str]) -> str:
    """Return the configuration as YAML.

    Every model is asked at `OPENAI_BASE_URL` with `OPENAI_API_KEY`, by the name that the
    policy gives it; callers need the proxy's `LITELLM_MASTER_KEY`. Edit what is otherwise.

    Args:
        router: loaded with the policy, the catalog and the artifact.
        environment: where the gateway's process finds them, by `load_from_environment`.

    Raises:
        PolicyError: the policy names no models.

    """
    policy = router.policy.ranked(router.catalog)
    if not _models(policy):
        raise PolicyError("The policy names no models, so a gateway has nothing to ask.")
    beyond = list(_beyond_tiers(policy))
    auto = _deployment(_default(policy), router) if beyond else _complexity_router(policy, router)
    settings = {"callbacks": [_HOOK]} if beyond else {}
    config = {
        "environment_variables": environment,
        "model_list": [
            *(_deployment(name, router) for name in _models(policy)),
            {**auto, "model_name": "auto"},
        ],
        "router_settings": {"num_retries": 1, "fallbacks": _fallbacks(policy)},
        "litellm_settings": {"drop_params": True, **settings},
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }
    body: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return _HEAD + "".join(map(_SAID.format, beyond)) + body


def _beyond_tiers(policy: Policy) -> Iterator[str]:
    """Say what of a policy LiteLLM's tiers and its plugins cannot."""
    names = _tiers(policy)
    if not 2 <= len(names) <= _MOST_TIERS:
        models = counted(len(names), "model")
        yield f"the policy chooses among {models}, and LiteLLM has 2 to 8 tiers"
    if len({name.lower() for name in names}) < len(names):
        yield "names of LiteLLM's tiers must differ in more than capitals"
    if any(len(name) > _LONGEST_NAME for name in names):
        yield f"names of LiteLLM's tiers have {_LONGEST_NAME} characters at most"
    if any("audio" in rule.needs for rule in policy.rules):
        yield "LiteLLM asks no plugin about a request that is only spoken"
    if any(rule.when.tools is not None for rule in policy.rules):
        yield "LiteLLM shows no plugin the tools of a request"
    if policy.parameters or policy.adjustments or any(rule.parameters for rule in policy.rules):
        yield "a tier sets no parameters by label"


def _models(policy: Policy) -> list[str]:
    """Return all models that a request may get, each once."""
    named = [name for rule in policy.rules for name in rule.models]
    return list(dict.fromkeys((*named, *_in_doubt(policy))))


def _in_doubt(policy: Policy) -> tuple[str, ...]:
    return policy.uncertain.models if policy.uncertain else ()


def _tiers(policy: Policy) -> dict[str, str]:
    """Return the models that are chosen first -> for what."""
    tiers = dict.fromkeys(_in_doubt(policy)[:1], "what the classifier is unsure of")
    for rule in policy.rules:
        for name in rule.models[:1]:
            tiers[name] = f"route {rule.route}"
    return tiers


def _default(policy: Policy) -> str:
    """Return the model of what cannot be decided on."""
    return policy.choose_route(policy.default).model or _models(policy)[0]


def _deployment(name: str, router: Router) -> _Json:
    known = router.catalog.models.get(name)
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"openai/{name}",
            "api_base": "os.environ/OPENAI_BASE_URL",
            "api_key": "os.environ/OPENAI_API_KEY",
            **(_prices(known) if known else {}),
        },
        "model_info": _abilities(known) if known else {},
    }


def _prices(model: Model) -> _Json:
    """Return what is known of its prices, in US dollars per token."""
    per_million = {
        "input_cost_per_token": model.input_price,
        "output_cost_per_token": model.output_price,
        "cache_read_input_token_cost": model.cached_input_price,
    }
    return {name: price / 1e6 for name, price in per_million.items() if price is not None}


def _abilities(model: Model) -> _Json:
    context = {} if model.context is None else {"max_input_tokens": model.context}
    return {
        "supports_vision": "vision" in model.modalities,
        "supports_audio_input": "audio" in model.modalities,
        **context,
    }


def _complexity_router(policy: Policy, router: Router) -> _Json:
    """Return the deployment behind `auto`: one tier for each model, those that see last.

    An image moves a request to a later tier only, so what LiteLLM shows no plugin, a
    request that is only an image, still finds a model that sees.
    """
    sees = {name for name, model in router.catalog.models.items() if "vision" in model.modalities}
    tiers = dict(sorted(_tiers(policy).items(), key=lambda tier: tier[0] in sees))
    in_doubt, default = _in_doubt(policy), _default(policy)
    config = {
        "modality_routing": True,
        "classifier_type": "custom",
        "classifier_plugin": _PLUGIN,
        "classifier_plugin_timeout_ms": 50,
        "tier_definitions": [{"name": name, "description": what} for name, what in tiers.items()],
        "fallback_tier": in_doubt[0] if in_doubt else default,
        "tiers": {name: name for name in tiers},
    }
    params = {
        "model": "auto_router/complexity_router",
        "complexity_router_default_model": default,
        "complexity_router_config": config,
    }
    return {"litellm_params": params}


def _fallbacks(policy: Policy) -> list[dict[str, list[str]]]:
    """Return each model's fallbacks, by the first rule that prefers it."""
    chains = [rule.models for rule in policy.rules] + [_in_doubt(policy)]
    found: dict[str, list[str]] = {}
    for first, *rest in (chain for chain in chains if len(chain) > 1):
        found.setdefault(first, rest)
    return [{first: rest} for first, rest in found.items()]
