"""What a rule can ask of a request besides its labels: length, turns, tools, the caller's tags.

A rule's `when` becomes conditions. Those that hold of a request join its labels, so that
choosing a rule, caching the choice and comparing rules are all work on sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from router_ml.request import Request, approximate_tokens, user_turns
from router_ml.types import Tags

Count = Annotated[int, msgspec.Meta(ge=0)]
_TAG = "tag "


class Condition(NamedTuple):
    """One thing that is asked of a fact of a request.

    Attributes:
        fact: "tokens", "turns", "tools", or "tag " and its name.
        relation: between the fact and the value.
        value: a number; True or False for "tools"; for a tag, its text.

    """

    fact: str
    relation: Literal["at least", "at most", "is"]
    value: Any

    def holds(self, measured: Any) -> bool:
        """Say whether it holds of the fact's value in a request."""
        if self.relation == "is":
            return bool(measured == self.value)
        return bool(
            measured >= self.value if self.relation == "at least" else measured <= self.value
        )

    def implies(self, other: Condition) -> bool:
        """Say whether every request of which this holds is one of which the other does."""
        return self[:2] == other[:2] and other.holds(self.value)

    def excludes(self, other: Condition) -> bool:
        """Say whether this and the other hold of no request together."""
        return self.fact == other.fact and not (other.holds(self.value) or self.holds(other.value))

    def __str__(self) -> str:
        """Say it in words: "tokens at least 8000"."""
        return f"{self.fact} {self.relation} {self.value}"


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule asks of a request besides its labels; all of it must hold.

    Attributes:
        min_tokens, max_tokens: bounds of `approximate_tokens`, both included.
        min_turns, max_turns: bounds of how often the user spoke, both included.
        tools: whether the payload offers tools.
        tags: name -> the value that the caller's tag must have. Values are compared as
            text, `true` as "true", since a payload's `metadata` can only say text.

    """

    min_tokens: Count | None = None
    max_tokens: Count | None = None
    min_turns: Count | None = None
    max_turns: Count | None = None
    tools: bool | None = None
    tags: dict[str, str | bool | int | float] = {}

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions that must hold."""
        asked = (
            Condition("tokens", "at least", self.min_tokens),
            Condition("tokens", "at most", self.max_tokens),
            Condition("turns", "at least", self.min_turns),
            Condition("turns", "at most", self.max_turns),
            Condition("tools", "is", self.tools),
            *(Condition(_TAG + name, "is", _spelled(tag)) for name, tag in self.tags.items()),
        )
        return tuple(condition for condition in asked if condition.value is not None)


class Conditions:
    """Conditions by their fact, so that each fact is measured once and only if asked for."""

    def __init__(self, conditions: Iterable[Condition]) -> None:
        self._asked: dict[str, set[Condition]] = {}
        for condition in conditions:
            self._asked.setdefault(condition.fact, set()).add(condition)

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return bool(self._asked)

    def holding(self, request: Request, tags: Tags | None = None) -> frozenset[Condition]:
        """Return those that hold of a request; `tags` win over its metadata."""
        holding: list[Condition] = []
        for fact, asked in self._asked.items():
            measured = _measure(fact, request, tags)
            holding += (condition for condition in asked if condition.holds(measured))
        return frozenset(holding)


def _measure(fact: str, request: Request, tags: Tags | None) -> Any:
    if fact == "tokens":
        return approximate_tokens(request)
    if fact == "turns":
        return user_turns(request)
    if fact == "tools":
        return request.has_tools
    return _tag(fact.removeprefix(_TAG), tags, request.metadata)


def _tag(name: str, *sources: Mapping[str, Any] | None) -> str | None:
    """Return a tag's text from the first source that has it; None if there is none."""
    for source in sources:
        if isinstance(source, Mapping) and name in source:
            return _spelled(source[name])
    return None


def _spelled(tag: Any) -> str | None:
    """Spell a tag as JSON would, a string without its quotes; what is no tag is None."""
    if isinstance(tag, str):
        return tag
    return json.dumps(tag) if isinstance(tag, bool | int | float) else None
