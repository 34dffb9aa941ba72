"""Where the policy and the catalog that are loaded come from, in words."""

from __future__ import annotations

from pathlib import Path

from router_ml.policy import Policy


def policy_source(loaded: Policy, given: Path | None) -> str:
    """Return the file that was given, or say which policy is taken without one."""
    if given is not None:
        return str(given)
    return "shipped" if loaded == Policy.load() else "one route a label"


def catalog_source(given: Path | None) -> str:
    """Return the file that was given, or say that it is the shipped one."""
    return "shipped" if given is None else str(given)
