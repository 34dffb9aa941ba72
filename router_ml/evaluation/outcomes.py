"""Outcome data: what several models made of the same prompts, one JSON object a line.

    {"id": "7", "prompt": "…", "results": {
        "small": {"correct": false, "input_tokens": 80, "output_tokens": 12, "latency_s": 0.4},
        "large": {"score": 0.9, "cost_usd": 0.0004}}}

A result has `correct` or a `score` in [0, 1]; the rest may be missing. Rows with the same `id`,
or without one the same prompt, are one row, so that results can be appended as they come:
`router-ml replay` writes such files. A model that comes twice begins another row. Public
benchmarks are read as their tables are, one JSON object a row:

- RouterBench (Hu et al. 2024, arXiv:2403.12031): `MODEL` is a score, `MODEL|total_cost` its
  cost in US dollars, `eval_name` the domain;
- RouteLLM (Ong et al. 2024, arXiv:2406.18665): `MODEL` is true or false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from router_ml.catalog import Catalog
from router_ml.errors import DataError
from router_ml.evaluation.costs import cost_of, tokens_of
from router_ml.examples import read_objects, request_of
from router_ml.request import Request
from router_ml.types import Probability

_COST = "|total_cost"
_Amount = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one model made of one prompt.

    Attributes:
        correct: whether it is right.
        score: how good it is, in [0, 1], where it is not just right or wrong.
        cost_usd: what it cost, in US dollars.
        input_tokens, output_tokens: what was read and written.
        latency_s: how long it took, in seconds.
        answer: what was written.
        error: why there is neither score nor answer.

    """

    correct: bool | None = None
    score: Probability | None = None
    cost_usd: _Amount | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    latency_s: _Amount | None = None
    answer: str | None = None
    error: str | None = None

    @property
    def quality(self) -> float | None:
        """How good it is, in [0, 1]; None where nobody judged."""
        return self.score if self.correct is None else float(self.correct)


class Outcome(NamedTuple):
    """A prompt and what models made of it.

    Attributes:
        request: the prompt.
        results: model -> its result; only those with a quality, and without their answers,
            which nothing here reads.
        domain: where the prompt is from; "" where unknown.

    """

    request: Request
    results: dict[str, Result]
    domain: str = ""


def read_outcomes(paths: Iterable[Path | str]) -> list[Outcome]:
    """Read outcome files; a result that nobody judged is left out.

    Raises:
        DataError: a file cannot be read, a line is no outcome, or nothing is judged.

    """
    rows: list[Outcome] = []
    found: dict[str, Outcome] = {}
    paths = list(paths)
    for path in paths:
        for number, row in read_objects(path):
            request = request_of(path, number, row)
            results = results_of(path, number, row)
            judged = {
                name: msgspec.structs.replace(result, answer=None)
                for name, result in results.items()
                if result.quality is not None
            }
            known = found.get(key := id_of(row, request))
            if known is None or known.results.keys() & judged.keys():
                known = found[key] = Outcome(request, {}, _domain(row))
                rows.append(known)
            known.results.update(judged)
    rows = [outcome for outcome in rows if outcome.results]
    if not rows:
        raise DataError(paths[0], None, "no row has a result with `correct` or `score`.")
    return rows


def id_of(row: Mapping[str, Any], request: Request) -> str:
    """Return what a prompt is known by: its `id` or `sample_id`, else a hash of what it says."""
    given = row.get("id", row.get("sample_id"))
    if given is not None:
        return str(given)
    said = "\x1f".join(f"{turn.role}\x1e{turn.text}" for turn in request.turns)
    return blake2b(said.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _domain(row: Mapping[str, Any]) -> str:
    return str(row.get("domain", row.get("eval_name", "")))


def results_of(path: Path | str, number: int, row: Mapping[str, Any]) -> dict[str, Result]:
    """Return a row's results by model, in whichever of the three forms it has them.

    Raises:
        DataError: `results` is none, or has a value that is out of its range.

    """
    given = row["results"] if "results" in row else dict(_columns(row))
    try:
        return msgspec.convert(given, dict[str, Result])
    except msgspec.ValidationError as error:
        raise DataError(path, number, f"`results`: {error}.") from error


def _columns(row: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for key, value in row.items():
        if isinstance(value, bool):
            yield key, {"correct": value}
        elif key + _COST in row and isinstance(value, int | float):
            yield key, {"score": value, "cost_usd": row[key + _COST]}


def result_cost(model: str, result: Result, request: Request, catalog: Catalog) -> float | None:
    """Return what a result cost in US dollars: as it says, else its tokens at the catalog's price.

    Tokens that it does not count are estimated as `tokens_of` does; None if the catalog does
    not list the model.
    """
    if result.cost_usd is not None:
        return result.cost_usd
    counted = {"input_tokens": result.input_tokens, "output_tokens": result.output_tokens}
    return cost_of(model, tokens_of(counted, request), catalog)
