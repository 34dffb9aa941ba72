"""`router-ml replay`: send prompts to several models, and score their answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.catalog import Catalog
from router_ml.cli.console import err, needs, one_sentence
from router_ml.cli.options import (
    ApiKeyOption,
    BaseUrlOption,
    CatalogOption,
    SeedOption,
    names_in,
)
from router_ml.errors import ReplayError
from router_ml.plurals import counted

if TYPE_CHECKING:
    from router_ml.evaluation.judging import LogRow
    from router_ml.replay import Replay

_SCORER = "exact, regex, numeric, json_schema[=FILE], judge=FILE or module:function."


def replay(
    prompts: Annotated[Path, typer.Argument(help="Rows with prompt or messages, JSON Lines.")],
    models: Annotated[str, typer.Option(help="Whom to ask: ids in the catalog, by commas.")],
    output: Annotated[Path, typer.Option("-o", "--out", help="Results; those there are kept.")],
    cap_usd: Annotated[float, typer.Option(min=0, help="The most that all results may cost.")],
    base_url: BaseUrlOption = None,
    api_key: ApiKeyOption = None,
    scorer: Annotated[str, typer.Option(help=_SCORER)] = "exact",
    judge_model: Annotated[str | None, typer.Option(help="Which model judges.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many prompts.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 1024,
    concurrency: Annotated[int, typer.Option(min=1, help="Prompts under way at once.")] = 8,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Of one attempt.")] = 120,
    catalog: CatalogOption = None,
    seed: SeedOption = 0,
) -> None:
    """Send a sample of prompts to several models, score the answers, keep within a cap."""
    with one_sentence(), needs("replay", "Replaying prompts"):
        from router_ml.replay import Budget, Endpoint, Replay, ResultsFile, make_client, make_scorer

        with ResultsFile(output) as results:
            client = make_client(base_url, api_key, timeout_s)
            budget = Budget(cap_usd, results.spent)
            endpoint = Endpoint(client, Catalog.load(catalog), budget, max_tokens=max_tokens)
            judge = make_scorer(scorer, endpoint, judge_model)
            rows = _sample(prompts, sample, seed)
            prepared = Replay(rows, names_in(models), endpoint, judge, results)
            run_replay(prepared, concurrency, budget.spent)


def _sample(prompts: Path, most: int, seed: int) -> list[LogRow]:
    """Draw prompts, and say how many could not be drawn."""
    from router_ml.replay import sample_rows

    rows, left_out = sample_rows(prompts, most, seed)
    if left_out:
        err.print(f"Left out: {counted(left_out, 'row')} with an image or audio part.")
    return rows


def run_replay(prepared: Replay, concurrency: int, spent: float) -> None:
    """Ask behind a bar that shows what is spent; say at the end how much was answered.

    Raises:
        ReplayError: answers are missing.
        typer.Exit: the person stopped it.

    """
    _run_behind_bar(prepared, concurrency, spent)
    if failed := prepared.summary.failed:
        missing = counted(failed, "answer is", "answers are")
        raise ReplayError(f"{missing} missing; the file says why, and the same command asks again.")


def _run_behind_bar(prepared: Replay, concurrency: int, spent: float) -> None:
    import asyncio

    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    done = prepared.summary
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("US${task.fields[spent]:.4f}"))
    with Progress(*columns, TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task("", total=len(prepared.pairs), spent=spent)
        try:
            asyncio.run(
                prepared.run(concurrency, lambda usd: bar.update(task, advance=1, spent=usd))
            )
        except KeyboardInterrupt:
            bar.stop()
            err.print("Stopped; the same command goes on from here.")
            raise typer.Exit(130) from None
        finally:
            bar.stop()
            err.print(
                f"{done.answered:,} answered now, {done.before:,} before; {done.failed:,} failed."
            )
