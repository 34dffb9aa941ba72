"""What the classifier says and what the router answers: immutable values.

They are `msgspec.Struct`s rather than dataclasses because one is made for every
request: a frozen struct is built several times faster and encodes to JSON as it is.
They refer to nothing that could refer back, so that the garbage collector, which would
look through a batch of them again and again, may pass them by.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]

Tags = Mapping[str, str | bool | int | float]
"""What a caller says of a request: name -> value."""


class Reason(StrEnum):
    """Why a decision came out as it did."""

    CLASSIFIED = "classified"
    """The classifier's labels chose the rule, with what the rules ask of the request."""
    IMAGE = "image"
    """The request carries an image; the text could only refine the choice."""
    AUDIO = "audio"
    """The request carries audio; the text could only refine the choice."""
    TAG = "tag"
    """A tag of the caller's chose the rule, whatever the text says."""
    EMPTY = "empty"
    """There was no text to judge: the default route."""
    UNREADABLE = "unreadable"
    """The request is not a string, messages or a payload: the default route."""
    LOW_CONFIDENCE = "low_confidence"
    """The classifier was less sure than the policy asks: what the policy gives in doubt."""
    STICKY = "sticky"
    """The conversation stays on the route that an earlier turn of it took."""


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What the classifier says of one text.

    Attributes:
        labels: the labels that hold, in the artifact's order.
        probabilities: label -> calibrated probability in [0, 1], for every label.

    """

    labels: tuple[str, ...]
    probabilities: Mapping[str, float]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes, and why.

    Attributes:
        route: the route's name.
        model: the model to call; None if the policy names no models (an artifact of
            own labels without a policy).
        fallbacks: further models, in the order to try them.
        labels: the labels that hold, in the artifact's order; facts ("vision" of an
            image part) included.
        probabilities: label -> calibrated probability; empty if no text was judged.
        reason: why.
        parameters: request parameters the policy sets, such as temperature.
        confidence: the probability of the least sure judgement the choice rests on, in
            [0, 1]; 1 where a fact decided, or the conversation's past.
        truncated: whether the classifier read only parts of a long text.

    """

    route: str
    model: str | None
    fallbacks: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: Mapping[str, float]
    reason: Reason
    parameters: Mapping[str, Any]
    confidence: float
    truncated: bool = False
