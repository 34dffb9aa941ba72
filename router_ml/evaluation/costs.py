"""What requests cost: their tokens, counted in the log or estimated, at the catalog's prices.

Tokens are those of a row of a log, under the first of these keys that it has:

    {"usage": {"prompt_tokens": 812, "completion_tokens": 95}}    Chat Completions
    {"usage": {"input_tokens": 812, "output_tokens": 95}}         Responses
    {"input_tokens": 812, "output_tokens": 95}                    the decision log

A count may be a float or text, as tables have it. A side that no key counts is estimated: input
by `approximate_tokens`, which says how far off it is, output by a mean over many conversations,
which is right for a whole log of chat at best and off by several times for a single request.
Tokens that another model wrote stand for those that the routed one would write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from router_ml.catalog import Catalog
from router_ml.request import Request, approximate_tokens

OUTPUT_TOKENS = 215
"""Output tokens of a request whose log does not say: the mean response of LMSYS-Chat-1M
(Zheng et al. 2023, table 1: 214.5 tokens). Other logs differ: that of WildChat, from the same
year, is about twice as long (Zhao et al. 2024, table 1: 441)."""

_MOST = 10**12
"""What is larger is no count of one request's tokens, and fits no array."""
_DIGITS = re.compile(r"\s*[0-9]{1,13}(\.0*)?\s*")
_INPUT_KEYS = ("prompt_tokens", "input_tokens")
_OUTPUT_KEYS = ("completion_tokens", "output_tokens")
_DETAILS_KEYS = ("prompt_tokens_details", "input_tokens_details")
COUNT_KEYS = ("usage", *_INPUT_KEYS, *_OUTPUT_KEYS, *_DETAILS_KEYS, "cached_input_tokens")
"""What of a row says how many tokens it had."""


class Tokens(NamedTuple):
    """The tokens of one request.

    Attributes:
        input_tokens: all that were read, the cached ones included.
        output_tokens: all that were written.
        cached_input_tokens: those of the input that the provider found in its cache.
        input_counted, output_counted: whether the log counted them; else they are estimates.

    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    input_counted: bool = False
    output_counted: bool = False


def tokens_of(
    row: Mapping[str, Any], request: Request, output_tokens: int = OUTPUT_TOKENS
) -> Tokens:
    """Return the tokens of a row of a log.

    Args:
        row: as it was parsed; the module says which keys are read.
        request: what the row says, to estimate its input from.
        output_tokens: what stands for output that was not counted.

    """
    usage = row.get("usage")
    sources = (usage, row) if isinstance(usage, Mapping) else (row,)
    read, written = _count(sources, _INPUT_KEYS), _count(sources, _OUTPUT_KEYS)
    return Tokens(
        approximate_tokens(request) if read is None else read,
        output_tokens if written is None else written,
        min(_cached(sources), read or 0),
        read is not None,
        written is not None,
    )


def _count(sources: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int | None:
    """Return the first count under one of the keys; what is no count is passed over."""
    found = (_whole(source.get(key)) for source in sources for key in keys)
    return next((count for count in found if count is not None), None)


def _whole(cell: Any) -> int | None:
    """Return the count in a cell: tables make floats of integers, and CSV text."""
    if type(cell) is str and _DIGITS.fullmatch(cell):
        cell = float(cell)
    if type(cell) not in {int, float} or not 0 <= cell <= _MOST or cell % 1:
        return None
    return int(cell)


def _cached(sources: Sequence[Mapping[str, Any]]) -> int:
    details = (source.get(key) for source in sources for key in _DETAILS_KEYS)
    inner = [found for found in details if isinstance(found, Mapping)]
    counted = _count(inner, ("cached_tokens",))
    return counted or _count(sources, ("cached_input_tokens",)) or 0


def cost_of(model: str | None, tokens: Tokens, catalog: Catalog) -> float | None:
    """Return what a request costs on a model, in US dollars; None if its price is unknown."""
    known = catalog.models.get(model or "")
    return None if known is None else known.cost(*tokens[:3])


class Bill:
    """The tokens of n requests, to be priced on any model.

    Attributes:
        tokens: int64 [n, 3]: fresh input, cached input, output.

    """

    def __init__(self, tokens: Sequence[Tokens] | NDArray[Any]) -> None:
        """Take `Tokens`, or their first three fields as an array [n, 3]."""
        rows = np.array([row[:3] for row in tokens], np.int64).reshape(-1, 3)
        fresh = np.maximum(0, rows[:, 0] - rows[:, 2])
        self.tokens = np.stack((fresh, rows[:, 2], rows[:, 1]), axis=1)

    def on(self, models: Sequence[str | None], which: ArrayLike, catalog: Catalog) -> NDArray[Any]:
        """Return what each request costs on its model, in US dollars, float64 [n].

        Args:
            models: names; one that the catalog does not list makes its requests' cost NaN.
            which: int [n], the number of each request's model; or one for all.
            catalog: has the prices.

        """
        prices = np.array([prices_of(name, catalog) for name in models])
        found: NDArray[Any] = (self.tokens * prices[np.asarray(which)]).sum(axis=1)
        return found


def prices_of(name: str | None, catalog: Catalog) -> tuple[float, float, float]:
    """Return what a token of fresh input, cached input and output costs, in US dollars; or NaN."""
    one_each = (Tokens(1, 0), Tokens(1, 0, 1), Tokens(0, 1))
    found = [cost_of(name, tokens, catalog) for tokens in one_each]
    fresh, cached, output = (np.nan if cost is None else cost for cost in found)
    return fresh, cached, output
