"""Ask every model every prompt that it has not answered yet, a few at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from router_ml.errors import DataError, ReplayError
from router_ml.evaluation.judging import LogRow, read_log
from router_ml.evaluation.outcomes import Result, id_of
from router_ml.replay.endpoint import CapReached, Endpoint, Purse, Unanswered
from router_ml.replay.results import ResultsFile
from router_ml.replay.scorers import Scorer, Verdict

Told = Callable[[float], object]
"""Told the dollars spent so far, after every prompt that a model is done with."""


class Summary(msgspec.Struct):
    """What became of the prompts, each counted once for every model.

    Attributes:
        answered: that have a result now.
        before: that had one already.
        failed: that got no answer or no score; the file says why.
        unsent: that no longer fitted under the cap.

    """

    answered: int = 0
    before: int = 0
    failed: int = 0
    unsent: int = 0


class Pair(NamedTuple):
    """A prompt, what it is known by, and the model that is to answer it."""

    row: dict[str, Any]
    key: str
    model: str


def sample_rows(path: Path | str, most: int, seed: int = 0) -> tuple[list[LogRow], int]:
    """Draw rows of a log, each as likely as any other (Vitter 1985, algorithm R), in its order.

    Rows with an image or audio part are left out: what they cost cannot be bounded before
    they are sent.

    Args:
        path: of the log; it is streamed.
        most: how many to draw.
        seed: of the draw.

    Returns:
        The rows, and how many were left out.

    Raises:
        DataError: the log cannot be read, or has no rows of text.

    """
    draw, kept, seen, parts = random.Random(seed), list[LogRow](), 0, 0
    for row in read_log(path):
        if row.request.has_image or row.request.has_audio:
            parts += 1
            continue
        seen += 1
        at = len(kept) if seen <= most else draw.randrange(seen)
        if at < most:
            kept[at : at + 1] = [row]
    if not kept:
        raise DataError(path, None, "the file has no rows of text alone.")
    return sorted(kept, key=lambda row: row.number), parts


class Replay:
    """A replay: prompts, models, and where the results go.

    Attributes:
        pairs: what is to be sent, prompt by prompt.
        summary: what became of it so far.

    """

    def __init__(
        self,
        rows: Sequence[LogRow],
        models: Sequence[str],
        endpoint: Endpoint,
        scorer: Scorer,
        results: ResultsFile,
    ) -> None:
        """Prepare a replay, and check all that can be before money is spent.

        Raises:
            DataError: a row cannot be scored, or two different ones have the same `id`.
            ReplayError: what a model costs cannot be bounded.

        """
        endpoint.check(models)
        self._endpoint, self._scorer, self._results = endpoint, scorer, results
        self.summary = Summary()
        self.pairs = list(self._open_pairs(rows, list(dict.fromkeys(models))))

    def _open_pairs(self, rows: Iterable[LogRow], models: Sequence[str]) -> Iterator[Pair]:
        known: dict[str, LogRow] = {}
        for row in rows:
            key = id_of(row.data, row.request)
            first = known.setdefault(key, row)
            if first.request != row.request:
                problem = f"another row than line {first.number}, but the same `id`, {key!r}."
                raise DataError(row.path, row.number, problem)
            if first is not row:
                continue
            if lack := self._scorer.check(row.data):
                raise DataError(row.path, row.number, f"the row cannot be scored: {lack}.")
            for model in models:
                if (key, model) in self._results.finished:
                    self.summary.before += 1
                else:
                    yield Pair(row.data, key, model)

    async def run(self, concurrency: int = 8, told: Told = lambda spent: None) -> Summary:
        """Send what is open; once, since the endpoint's connections are closed at the end.

        Whatever ends it, the file has all that was answered, and counts what was spent.

        Args:
            concurrency: how many prompts are under way at most.
            told: for a progress bar.

        Raises:
            ReplayError: the endpoint refuses the key, or the cap was reached.
            OSError: the file cannot be written any more.

        """
        try:
            return await self._run(concurrency, told)
        finally:
            await self._endpoint.close()

    async def _run(self, concurrency: int, told: Told) -> Summary:
        waiting = iter(self.pairs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(waiting, told))
        except* (ReplayError, OSError) as errors:
            fatal: BaseException | None = errors.exceptions[0]
        else:
            fatal = None
        if fatal is not None:
            raise fatal
        if self.summary.unsent:
            raise ReplayError(
                f"The cap of US${self._endpoint.budget.cap:g} is reached: {self.summary.unsent} "
                "answers are missing; the same command with a higher cap goes on."
            )
        return self.summary

    async def _work(self, waiting: Iterator[Pair], told: Told) -> None:
        for pair in waiting:
            await self._settle(pair)
            told(self._endpoint.budget.spent)

    async def _settle(self, pair: Pair) -> None:
        """Ask, score and record one pair; what was spent is recorded whatever happens."""
        purse, result = Purse(), Result(error="interrupted")
        try:
            result = await self._result(pair, purse)
            self.summary.answered += 1
        except Unanswered as error:
            result = Result(error=str(error))
            self.summary.failed += 1
        except CapReached:
            result = Result(error="the cap is reached")
            self.summary.unsent += 1
        finally:
            if purse.spent or result.error not in ("interrupted", "the cap is reached"):
                self._results.append(*pair, result, purse.spent)

    async def _result(self, pair: Pair, purse: Purse) -> Result:
        answer = await self._endpoint.ask(pair.model, messages_of(pair.row), purse)
        usage = answer.usage
        verdict = await self._scorer.score(pair.row, answer.text, purse)
        return Result(
            **_quality(verdict),
            cost_usd=answer.cost_usd,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            latency_s=round(answer.latency_s, 3),
            answer=answer.text,
        )


def _quality(verdict: Verdict) -> dict[str, Any]:
    return {"correct" if isinstance(verdict, bool) else "score": verdict}


def messages_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that a row's prompt is sent as."""
    if row.get("prompt") is not None:
        return [{"role": "user", "content": row["prompt"]}]
    messages: list[dict[str, Any]] = row["messages"]
    return messages
