"""`router-ml label --with-llm`: ask an LLM for labels before a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from router_ml.catalog import Catalog
from router_ml.cli.console import err, needs, warn
from router_ml.cli.files import beside, write_rows
from router_ml.cli.replay import run_replay
from router_ml.errors import ReplayError
from router_ml.plurals import counted

if TYPE_CHECKING:
    from router_ml.labelling.answers import Labels
    from router_ml.labelling.prelabel import Prelabelling
    from router_ml.labelling.questions import Question
    from router_ml.labelling.setting import Setting
    from router_ml.replay import ResultsFile

_CONCURRENCY = 8
_TIMEOUT_S = 60


class Prelabeller(NamedTuple):
    """What `--with-llm` and its companions say."""

    model: str
    base_url: str | None
    api_key: str | None
    cap_usd: float
    yes: bool
    catalog: Catalog


def prelabel(
    llm: Prelabeller, questions: Sequence[Question], setting: Setting, guideline: str, log: Path
) -> dict[str, Labels]:
    """Ask an LLM for labels, if the person agrees to what it costs; return what it said."""
    with needs("replay", "Asking an LLM for labels"):
        from router_ml.replay import ResultsFile

    with ResultsFile(beside(log, "llm-results")) as results:
        prepared = _prepare(llm, questions, setting, guideline, results)
        if _agreed(llm, prepared, results.spent):
            _ask(prepared, results.spent)
    said = prepared.said()
    target = beside(log, "llm")
    write_rows(target, prepared.labelled_rows(said))
    err.print(f"{llm.model} labelled {len(said):,} of {len(questions):,}: {target}")
    return said


def _prepare(
    llm: Prelabeller,
    questions: Sequence[Question],
    setting: Setting,
    guideline: str,
    results: ResultsFile,
) -> Prelabelling:
    from router_ml.labelling.prelabel import MAX_TOKENS, Prelabelling
    from router_ml.replay import Budget, Endpoint, make_client

    client = make_client(llm.base_url, llm.api_key, _TIMEOUT_S)
    budget = Budget(llm.cap_usd, results.spent)
    return Prelabelling(
        questions,
        llm.model,
        Endpoint(client, llm.catalog, budget, max_tokens=MAX_TOKENS),
        results,
        labels=setting.labels,
        single=setting.single,
        guideline=guideline,
    )


def _agreed(llm: Prelabeller, prepared: Prelabelling, spent: float) -> bool:
    """Say what is sent where, and what it costs; return whether the person wants that."""
    cost = prepared.cost()
    where = llm.base_url or "api.openai.com"
    requests = counted(cost.requests, "request")
    err.print(
        f"{requests} to {llm.model} at {where}, about US${cost.expected:.4f}, "
        f"at most US${cost.most:.4f}; US${spent:.4f} of the cap of US${llm.cap_usd:g} "
        "is spent. Their texts leave this machine.",
        soft_wrap=True,
    )
    return bool(cost.requests) and (llm.yes or typer.confirm("Send them?", err=True))


def _ask(prepared: Prelabelling, spent: float) -> None:
    try:
        run_replay(prepared.replay, _CONCURRENCY, spent)
    except ReplayError as error:  # what was said so far is of use
        warn("warning", error, "yellow")
