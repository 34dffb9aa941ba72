"""Router: request -> text -> probabilities -> decision, behind one door."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from router_ml.artifact import Artifact, find_artifact, load_artifact
from router_ml.cascade import Cascade, load_second
from router_ml.catalog import Catalog
from router_ml.chat import read_chat
from router_ml.chunks import chunks
from router_ml.classifier import Classifier
from router_ml.conversations import Conversations
from router_ml.decider import NOTHING, Decider
from router_ml.policy import SHIPPED_POLICY, Fact, Policy
from router_ml.problems import check
from router_ml.request import ModelText, Request, model_text
from router_ml.types import Decision, Tags

_PARTS: dict[tuple[bool, bool], frozenset[str]] = {
    (False, False): frozenset(),
    (True, False): frozenset({"vision"}),
    (False, True): frozenset({"audio"}),
    (True, True): frozenset({"vision", "audio"}),
}

_CHUNK = 4096
"""Requests read at a time: more of them alive cost the garbage collector more than they save."""


class Router:
    """Decides which model gets a request. Thread-safe; build one and keep it.

    Attributes:
        artifact: what the classifier was loaded from.
        policy: the rules.
        catalog: the LLMs on offer.
        second: the artifact that the policy asks where the first is in doubt, if it asks one.
        classifier: the artifact's graph, or a `Cascade` of both artifacts'.
        thresholds: from which probability each label holds, the policy's over the artifact's.
        decider: the policy made ready.
        conversations: what is remembered of sticky ones; None if the policy has none.

    """

    def __init__(
        self,
        artifact: Artifact,
        policy: Policy,
        catalog: Catalog,
        second: Artifact | None = None,
    ) -> None:
        """Put a router together; `second` as of `load_second`."""
        check(policy, artifact.config.labels, catalog)
        self.artifact, self.policy, self.catalog = artifact, policy, catalog
        self.second = load_second(policy, artifact, second)
        self.classifier = _classifier(artifact, policy, self.second)
        own = zip(self.classifier.labels, self.classifier.thresholds, strict=True)
        self.thresholds = tuple(policy.thresholds.get(label, value) for label, value in own)
        self.decider = Decider(policy, catalog)
        self.conversations = None if policy.sticky is None else Conversations(policy.sticky)

    @classmethod
    def load(
        cls,
        artifact: str | Path | None = None,
        *,
        policy: str | Path | Policy | None = None,
        catalog: str | Path | Catalog | None = None,
    ) -> Router:
        """Load an artifact with a policy and a catalog, the shipped ones by default.

        An artifact whose labels are not those of the shipped policy gets, without a
        policy of its own, one route for each label and `default` for the rest; one that
        extends the shipped labels, the shipped policy with a route for each of its own.

        Args:
            artifact: a directory, or the name of a shipped artifact.
            policy: a TOML file or a Policy.
            catalog: a TOML file or a Catalog.

        Raises:
            ArtifactError: the artifact is missing, altered or unsupported.
            PolicyError: the policy is malformed or does not fit artifact and catalog.
            CatalogError: the catalog is malformed.

        """
        loaded = load_artifact(find_artifact(artifact))
        if not isinstance(catalog, Catalog):
            catalog = Catalog.load(catalog)
        if policy is None:
            policy = default_policy(loaded.config.labels)
        elif not isinstance(policy, Policy):
            policy = Policy.load(policy)
        return cls(loaded, policy, catalog)

    def replays(self) -> Iterator[tuple[Artifact, int, float]]:
        """Yield each artifact, how many golden rows it has, and how far its graph is from them."""
        asked = [(self.artifact, self.classifier)]
        if self.second is not None and isinstance(self.classifier, Cascade):
            asked.append((self.second, self.classifier.second))
        for artifact, classifier in asked:
            golden = artifact.golden()
            yield artifact, len(golden), classifier.replay(golden)

    def route(
        self, request: Any, *, tags: Tags | None = None, conversation: str | None = None
    ) -> Decision:
        """Decide on a string, a list of messages, a request payload, or a Request.

        Total: what cannot be read or says nothing gets the default route and a reason.

        Args:
            request: what is to be decided on.
            tags: what the caller says of it, for the policy's rules; they win over those
                in the payload's `metadata`.
            conversation: the caller's key of the conversation it belongs to, for the
                policy's `[sticky]` routes; an empty one is none.

        """
        read = read_chat(request)
        if not read.readable:
            return self.decider.unreadable()
        text = model_text(read)
        facts = self.facts_of(read, tags)
        decision = self._finish(text, self._judge(text), facts)
        return self._stay(decision, conversation, facts) if conversation else decision

    def route_many(self, requests: Iterable[Any], *, tags: Tags | None = None) -> list[Decision]:
        """Decide on many requests at once, in their order, on every core.

        Args:
            requests: as for `route`; each is decided on alone, no conversation is kept.
            tags: what the caller says of all of them; a payload's `metadata` speaks of one.

        """
        decided = (self._route_chunk(chunk, tags) for chunk in chunks(requests, _CHUNK))
        return [*chain.from_iterable(decided)]

    def _route_chunk(self, requests: Sequence[Any], tags: Tags | None) -> Iterator[Decision]:
        reads = [read_chat(request) for request in requests]
        texts = [model_text(read) for read in reads]
        asked = [at for at, text in enumerate(texts) if text.says_something]
        rows: list[list[float] | None] = [None] * len(texts)
        found = self.classifier.probabilities_many([texts[at] for at in asked]).tolist()
        for at, row in zip(asked, found, strict=True):
            rows[at] = row
        for read, text, row in zip(reads, texts, rows, strict=True):
            if read.readable:
                yield self._finish(text, row, self.facts_of(read, tags))
            else:
                yield self.decider.unreadable()

    def _judge(self, text: ModelText) -> list[float] | None:
        return self.classifier.probabilities(text) if text.says_something else None

    def facts_of(self, read: Request, tags: Tags | None = None) -> frozenset[Fact]:
        """Return what a request's parts say, and which of the policy's conditions hold of it."""
        parts = parts_of(read)
        asked = self.decider.conditions
        return parts | asked.holding(read, tags) if asked else parts

    def _finish(
        self, text: ModelText, row: Sequence[float] | None, facts: frozenset[Fact]
    ) -> Decision:
        prediction = self.classifier.predict(row, self.thresholds) if row else NOTHING
        return self.decider(prediction, facts, truncated=text.truncated)

    def _stay(self, decision: Decision, conversation: str, facts: frozenset[Fact]) -> Decision:
        """Keep a request where its conversation stays."""
        if self.conversations is None:
            return decision
        stay = self.conversations.stay(conversation, decision)
        return decision if stay is None else self.decider.stay(decision, stay, facts)


def _classifier(artifact: Artifact, policy: Policy, second: Artifact | None) -> Classifier:
    first = Classifier(artifact)
    if not (policy.second and second):
        return first
    doubted = policy.doubted(first.labels)
    return Cascade(first, Classifier(second), doubted, policy.second.below)


def parts_of(request: Request) -> frozenset[str]:
    """Return what a request's parts say whatever its words say."""
    return _PARTS[request.has_image, request.has_audio]


def default_policy(labels: Sequence[str]) -> Policy:
    """Return the shipped policy where it speaks of these labels, else a route a label.

    Labels beside those that the shipped policy speaks of get a route each in it.
    """
    shipped = Policy.load(SHIPPED_POLICY)
    needs = shipped.needs()
    own = [label for label in labels if label not in needs]
    if shipped.covers_own(labels):
        return shipped.with_labels(own) if own else shipped
    return Policy.of_labels(labels)
