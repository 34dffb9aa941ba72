"""N-gram vectors learned before: what is known of words that one's own rows do not have.

A table of a vector an n-gram, the same for every task, distilled from a sentence-transformers
model (`training/distil_vectors.py`). A text's vector is the sum of its n-grams' vectors, a
linear map of its n-gram counts: whatever a linear classifier learns of it is again a weight an
n-gram, so what is served needs the vectors no more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.artifact import shipped_file
from router_ml.errors import RecipeError
from router_ml.training.byte_ngrams import Ngrams, round_columns

SHIPPED = "english-chinese"


class Vectors(NamedTuple):
    """A vector an n-gram.

    Attributes:
        name: of what they are.
        orders: lengths of the n-grams in bytes.
        hash_seed: of the hash's multipliers.
        table: int8 [2 ** table_bits, width].
        scale: of the table's columns, float32 [width].

    """

    name: str
    orders: tuple[int, ...]
    hash_seed: int
    table: NDArray[np.int8]
    scale: NDArray[np.float32]

    @property
    def ngrams(self) -> Ngrams:
        """What is hashed."""
        return own_ngrams(self.orders, self.table_bits, self.hash_seed)

    @property
    def table_bits(self) -> int:
        """Log2 of the number of ids."""
        return len(self.table).bit_length() - 1

    @property
    def floats(self) -> NDArray[np.float32]:
        """The vectors, float32 [2 ** table_bits, width]."""
        return self.table * self.scale

    @classmethod
    def rounded(
        cls, name: str, orders: Sequence[int], hash_seed: int, table: NDArray[np.float32]
    ) -> Vectors:
        """Round vectors to the 255 steps that are kept, column by column."""
        return cls(name, tuple(orders), hash_seed, *round_columns(table))

    def save(self, path: Path) -> None:
        """Write them as a compressed .npz."""
        about = {"name": self.name, "orders": self.orders, "hash_seed": self.hash_seed}
        np.savez_compressed(path, about=json.dumps(about), table=self.table, scale=self.scale)


def own_ngrams(orders: Sequence[int], table_bits: int, hash_seed: int) -> Ngrams:
    """Return the n-grams of encoders for one's own labels: no edges, and a text's start marked."""
    return Ngrams.make(orders, table_bits, hash_seed, edges=(), before=1)


def load_vectors(name: str) -> Vectors:
    """Read vectors: those shipped by name, or a file's.

    Raises:
        RecipeError: there are none, or the file is something else.

    """
    path = shipped_file(f"vectors/{name}.npz") or Path(name)
    try:
        with np.load(path, allow_pickle=False) as kept:
            return _read(kept)
    except OSError as error:
        raise RecipeError(f"There are no n-gram vectors at {name}.") from error
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise RecipeError(f"{path} holds no n-gram vectors.") from error


def _read(kept: Any) -> Vectors:
    about = json.loads(str(kept["about"]))
    orders = tuple(int(order) for order in about["orders"])
    found = Vectors(about["name"], orders, int(about["hash_seed"]), kept["table"], kept["scale"])
    rows, width = found.table.shape
    if rows != 1 << found.table_bits or found.scale.shape != (width,):
        raise ValueError(f"a table of {rows} rows and {found.scale.shape} scales")
    return found
