"""How far off is `approximate_tokens`? Estimated over true tokens, by language and tokenizer.

    pip install tiktoken tokenizers litellm
    python benchmarks/tokens.py training/prompts/*.jsonl

litellm is installed for the vocabularies in it, so that nothing is fetched. Reads labelled
rows, keeps those of `MIN_CHARACTERS` and the languages with `MIN_ROWS` of them, and prints
the ratio of the sums and, of single prompts, its 5th and 95th percentile.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tiktoken
from tokenizers import Tokenizer

from router_ml.examples import Example, read_examples
from router_ml.request import approximate_tokens

MIN_CHARACTERS, MIN_ROWS = 100, 20


def vocabularies() -> Path:
    """Return the folder of litellm's package that has the vocabularies."""
    found = find_spec("litellm")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("litellm is not installed: pip install litellm")
    return Path(found.submodule_search_locations[0], "litellm_core_utils", "tokenizers")


def counters() -> dict[str, Callable[[str], int]]:
    """Return what counts a text's tokens, by the tokenizer's name."""
    folder = vocabularies()
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    gpt = {name: tiktoken.get_encoding(name) for name in ("o200k_base", "cl100k_base")}
    deepseek = Tokenizer.from_file(str(folder / "deepseek_tokenizer.json"))
    return {
        "GPT-4o (o200k)": lambda text: len(gpt["o200k_base"].encode_ordinary(text)),
        "GPT-4 (cl100k)": lambda text: len(gpt["cl100k_base"].encode_ordinary(text)),
        "DeepSeek": lambda text: len(deepseek.encode(text, add_special_tokens=False).ids),
    }


def by_language(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """Group the rows that are long enough, the language with the most rows first."""
    found: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if sum(len(turn.text) for turn in example.request.turns) >= MIN_CHARACTERS:
            found[example.lang.split("-")[0] or "unknown"].append(example)
    kept = {language: rows for language, rows in found.items() if len(rows) >= MIN_ROWS}
    return dict(sorted(kept.items(), key=lambda item: -len(item[1])))


def ratios(rows: Iterable[Example], count: Callable[[str], int]) -> str:
    """Return estimated over true tokens: of the sums, and the spread of single prompts."""
    estimated = np.array([approximate_tokens(row.request) for row in rows])
    true = np.array([sum(count(turn.text) for turn in row.request.turns) for row in rows])
    low, high = np.percentile(estimated / true, (5, 95))
    return f"{estimated.sum() / true.sum():.2f} ({low:.2f}–{high:.2f})"


def main() -> None:
    """Read the arguments, count, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("files", type=Path, nargs="+", metavar="FILE")
    languages = by_language(read_examples(arguments.parse_args().files))
    counts = counters()
    print(f"| language | prompts | {' | '.join(counts)} |\n|{'---|' * (len(counts) + 2)}")
    for language, rows in languages.items():
        cells = (ratios(rows, count) for count in counts.values())
        print(f"| {language} | {len(rows)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
