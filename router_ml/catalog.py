"""The LLMs on offer: id, price, modalities. Read from TOML, checked, never guessed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from router_ml.errors import CatalogError

SHIPPED_CATALOG = Path(__file__).with_name("catalog.toml")

Modality = Literal["text", "vision", "audio"]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One LLM.

    Attributes:
        output_price: US dollars per million output tokens.
        modalities: what it can read.

    """

    output_price: Annotated[float, msgspec.Meta(ge=0)]
    modalities: tuple[Modality, ...] = ("text",)


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
