"""An OpenAI-compatible endpoint behind a budget: every attempt is paid for before it is made.

What an attempt can cost at most is the price of its input, at one token a byte (no byte-level
tokenizer makes more) and an allowance for the provider's template, and of `max_tokens` of
output. An answer costs what its usage says. An attempt that may have been answered without
our hearing of it, such as one that timed out, counts in full; one that was refused, nothing.
What errors mean is judged as dispatch judges them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import openai

from router_ml.catalog import Catalog
from router_ml.dispatch.faults import Fault, fault_of, retry_after_s
from router_ml.dispatch.routing import Usage, usage_of
from router_ml.errors import ReplayError
from router_ml.replay.budget import Budget

Messages = Sequence[dict[str, Any]]

_TEMPLATE_TOKENS = 512
"""Allowance for what a provider's chat template adds to the messages, in tokens."""
_REFUSED_KEY = (401, 403)
_UNHEARD = (502, 504)
"""A gateway's own words: the provider behind it may have answered."""
_LONGEST_WAIT_S = 60.0
_SAID = 300
"""Characters of a provider's error that are kept."""


def make_client(base_url: str | None, api_key: str | None, timeout_s: float) -> openai.AsyncOpenAI:
    """Make a client without retries of its own, which no budget would see.

    Raises:
        ReplayError: there is no key, or the address is none.

    """
    if not api_key:
        raise ReplayError("There is no key: set OPENAI_API_KEY, to anything if none is needed.")
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise ReplayError(f"The base URL {base_url!r} does not begin with http:// or https://.")
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=0)


class Answer(NamedTuple):
    """What a model wrote.

    Attributes:
        text: the answer.
        usage: its tokens, and
        cost_usd: what they cost in US dollars; None where the provider does not count them.
        latency_s: how long it took, in seconds.

    """

    text: str
    usage: Usage | None
    cost_usd: float | None
    latency_s: float


class CapReached(Exception):  # noqa: N818 - reads as the sentence it is
    """What an attempt could cost does not fit under the cap any more."""


class Unanswered(Exception):  # noqa: N818
    """No attempt brought an answer; the message says why the last one did not."""


class Purse:
    """What one prompt has cost so far, in US dollars, whatever became of it."""

    def __init__(self) -> None:
        self.spent = 0.0


class Endpoint:
    """Asks models, with retries, within a budget.

    Attributes:
        catalog: has the prices.
        budget: what may be spent.

    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        catalog: Catalog,
        budget: Budget,
        *,
        max_tokens: int = 1024,
        attempts: int = 3,
        wait_s: float = 1.0,
    ) -> None:
        """Take a client.

        Args:
            client: one without retries of its own, which no budget would see.
            catalog: has the input and output price of every model asked.
            budget: what may be spent.
            max_tokens: the longest answer.
            attempts: how often a prompt is sent at most.
            wait_s: before the second attempt; doubled before each further one.

        """
        self._client, self.catalog, self.budget = client, catalog, budget
        self._max_tokens, self._attempts, self._wait_s = max_tokens, attempts, wait_s

    def check(self, models: Sequence[str]) -> None:
        """Check that what models cost can be bounded.

        Raises:
            ReplayError: the catalog lacks one, or its input price.

        """
        for name in models:
            model = self.catalog.models.get(name)
            if model is None:
                raise ReplayError(f"The catalog does not list {name!r}: no cap could hold.")
            if model.input_price is None:
                raise ReplayError(
                    f"The catalog has no `input_price` for {name!r}: no cap could hold without it."
                )

    def most(self, model: str, messages: Messages) -> float:
        """Return what one attempt can cost at most, in US dollars."""
        tokens = len(msgspec.json.encode(messages)) + _TEMPLATE_TOKENS
        return self.catalog.models[model].cost(tokens, self._max_tokens)

    async def ask(self, model: str, messages: Messages, purse: Purse) -> Answer:
        """Ask a model.

        Args:
            model: which.
            messages: Chat Completions messages, text only.
            purse: told of every dollar, also when this raises or is cancelled.

        Raises:
            CapReached: an attempt might not fit under the cap; it was not made.
            Unanswered: the attempts failed, or one did that no other would mend.
            ReplayError: the endpoint refuses the key, and would for every prompt.

        """
        for attempt in range(self._attempts):
            try:
                return await self._attempt(model, messages, purse)
            except openai.OpenAIError as error:
                failed = error
                self._check(error)
            except ValueError as error:  # a body that is no JSON; asking again would cost again
                raise Unanswered(self._said(error)) from error
            if attempt + 1 < self._attempts:
                await asyncio.sleep(_wait_s(failed, self._wait_s * 2**attempt))
        raise Unanswered(self._said(failed)) from failed

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def _attempt(self, model: str, messages: Messages, purse: Purse) -> Answer:
        spent = most = self.most(model, messages)
        if not await self.budget.reserve(most):
            raise CapReached
        started = perf_counter()
        try:
            found = await self._client.chat.completions.create(
                model=model,
                messages=list(messages),  # type: ignore[arg-type]
                max_tokens=self._max_tokens,
            )
            took = perf_counter() - started
            usage = usage_of(found)
            cost = None if usage is None else self._cost(model, usage)
            spent = most if cost is None else cost
        except openai.OpenAIError as error:
            spent = 0.0 if _was_refused(error) else most
            raise
        finally:
            self.budget.settle(most, spent)
            purse.spent += spent
        return Answer(_text(found), usage, cost, took)

    def _cost(self, model: str, usage: Usage) -> float:
        cached = usage.cached_input_tokens
        return self.catalog.models[model].cost(usage.input_tokens, usage.output_tokens, cached)

    def _check(self, error: openai.OpenAIError) -> None:
        """Raise what no further attempt would mend."""
        if isinstance(error, openai.APIStatusError) and error.status_code in _REFUSED_KEY:
            raise ReplayError(f"The endpoint refuses the key: {self._said(error)}") from error
        if fault_of(error) is not Fault.PASSING:
            raise Unanswered(self._said(error)) from error

    def _said(self, error: Exception) -> str:
        """Return an error in one line, without the key, which some providers repeat."""
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return line.replace(self._client.api_key, "***")[:_SAID]


def _text(found: Any) -> str:
    """Return what was written, or raise Unanswered for a response of another form."""
    try:
        text = found.choices[0].message.content
    except (AttributeError, IndexError, TypeError) as error:
        raise Unanswered("The response has no choice with a message.") from error
    if not isinstance(text, str):
        raise Unanswered("The answer has no text.")
    return text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written


def _was_refused(error: openai.OpenAIError) -> bool:
    """Say whether the provider cannot have answered: it said so, or no connection was made."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code not in _UNHEARD
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")  # httpx, httpx2


def _wait_s(error: openai.OpenAIError, otherwise_s: float) -> float:
    """Return how long to wait, as the provider asks or else as given."""
    asked = retry_after_s(error)
    return min(_LONGEST_WAIT_S, otherwise_s if asked is None else asked)
