"""The LLMs on offer: prices, context, modalities, speed. Read from TOML, never guessed."""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from router_ml.errors import CatalogError

SHIPPED_CATALOG = Path(__file__).with_name("catalog.toml")

Preference = Literal["cheapest", "fastest"]
Modality = Literal["text", "vision", "audio"]

_LARGEST = sys.float_info.max  # TOML can say `inf`, which no cost can be computed from
Price = Annotated[float, msgspec.Meta(ge=0, le=_LARGEST)]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One LLM; what is not known of it is None.

    Attributes:
        output_price: US dollars per million output tokens.
        modalities: what it can read.
        input_price: US dollars per million input tokens.
        cached_input_price: US dollars per million input tokens that the provider finds in
            its prompt cache.
        context: the most tokens a request may have.
        speed: output tokens per second.

    """

    output_price: Price
    modalities: tuple[Modality, ...] = ("text",)
    input_price: Price | None = None
    cached_input_price: Price | None = None
    context: Annotated[int, msgspec.Meta(gt=0)] | None = None
    speed: Annotated[float, msgspec.Meta(gt=0, le=_LARGEST)] | None = None

    def cost(self, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0) -> float:
        """Return what a request costs, in US dollars.

        Input whose price is unknown counts as nothing, so that the cost is a lower bound
        made of published prices; cached input without a price of its own costs what other
        input costs.

        Args:
            input_tokens: all that were read, the cached ones included.
            output_tokens: all that were written.
            cached_input_tokens: those of the input that the provider found in its cache.

        """
        input_price = self.input_price or 0.0
        cached_price = input_price if self.cached_input_price is None else self.cached_input_price
        fresh_tokens = max(0, input_tokens - cached_input_tokens)  # some count the cached apart
        dollars = (
            fresh_tokens * input_price
            + cached_input_tokens * cached_price
            + output_tokens * self.output_price
        )
        return dollars / 1e6


class Catalog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The LLMs on offer.

    Attributes:
        models: id, as in the client's `model=`, -> what is known of it.
        baseline: the model that savings are measured against.

    """

    schema_version: Literal[1]
    models: dict[str, Model]
    baseline: str

    @classmethod
    def load(cls, path: Path | str | None = None) -> Catalog:
        """Read a catalog, the shipped one by default.

        Raises:
            CatalogError: the file is missing, is no TOML, has an unknown key, a wrong
                value, or a baseline that it does not list.

        """
        file = Path(path) if path is not None else SHIPPED_CATALOG
        try:
            catalog = msgspec.convert(read_toml(file, CatalogError), cls)
        except msgspec.ValidationError as error:
            raise CatalogError(f"{file}: {error}.") from error
        if catalog.baseline not in catalog.models:
            raise CatalogError(f"{file}: the baseline {catalog.baseline!r} is not in [models].")
        return catalog

    def rank(
        self, by: Preference, among: Sequence[str] = (), reads: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Return the models that can read something, the preferred one first.

        The cheapest is the one with the lowest output price, between equals the one with
        the lowest input price, if it is known. The fastest writes the most tokens a second;
        a model of unknown speed is never called fast.

        Args:
            by: what is preferred.
            among: ids to rank; all of them by default.
            reads: the modalities a model must have.

        """
        wanted, models = set(reads), self.models
        known = [name for name in among or models if name in models]
        able = [name for name in known if wanted <= set(models[name].modalities)]
        if by == "cheapest":
            return tuple(sorted(able, key=lambda name: _price(models[name])))
        rated = {name: speed for name in able if (speed := models[name].speed) is not None}
        return tuple(sorted(rated, key=lambda name: -rated[name]))


def _price(model: Model) -> tuple[float, float]:
    return model.output_price, math.inf if model.input_price is None else model.input_price


def read_toml(path: Path, error: type[Exception]) -> dict[str, Any]:
    """Read a TOML file; whatever is wrong with it is raised as `error`, naming the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise error(f"{path} cannot be read: {why}.") from problem
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{path} is not TOML: {problem}.") from problem
    except RecursionError as problem:
        raise error(f"{path} is nested too deeply to be read.") from problem
