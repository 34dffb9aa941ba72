"""`router-ml evaluate`: say how right routing is, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from typer.core import TyperCommand

from router_ml.cli.console import broken_rows, needs, one_sentence, warn
from router_ml.cli.files import open_sinks
from router_ml.cli.options import (
    ArtifactOption,
    CatalogOption,
    EngineOption,
    LogsArgument,
    MapOption,
    PolicyOption,
    ReportOption,
    SkipOption,
    WorkersOption,
)
from router_ml.cli.progress import progress
from router_ml.cli.sources import catalog_source, policy_source
from router_ml.tables import show_report

if TYPE_CHECKING:
    from router_ml.evaluation import Report
    from router_ml.router import Router

VOLUME = 1_000_000  # what `make_report` takes too, which is not loaded for the sake of `--help`
_PRINT = "-"
_AGAINST = (
    "keywords, litellm, module:function, predictions.jsonl, policy.toml or an "
    "artifact; may be repeated. By default the keyword rules."
)
_TRAFFIC = "`classic`, or shares: general=0.9,math=0.1."
_FLOOR = "Exit with 3 below it: accuracy=0.95."

ByOption = Annotated[
    list[str] | None, typer.Option(metavar="FIELD", help="Slice by a field of the rows too.")
]
JsonFileOption = Annotated[
    str | None, typer.Option("--json", metavar="[FILE.json]", help="Print or write JSON.")
]


class JsonToFile(TyperCommand):
    """A command whose `--json` prints, or writes to the file named after it.

    What does not end in `.json` after it is no such file: a log is not overwritten that
    somebody names there.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--json` the value that stands for printing."""
        found: list[str] = []
        for arg, following in zip_longest(args, args[1:], fillvalue=""):
            found.append(arg)
            if arg == "--json" and not following.endswith(".json"):
                found.append(_PRINT)
        return super().parse_args(ctx, found)


def evaluate(
    files: LogsArgument,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    against: Annotated[list[str] | None, typer.Option(metavar="SYSTEM", help=_AGAINST)] = None,
    by: ByOption = None,
    volume: Annotated[int, typer.Option(min=1, help="Requests a month.")] = VOLUME,
    traffic: Annotated[str | None, typer.Option(help=_TRAFFIC)] = None,
    report: ReportOption = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown.")] = None,
    json: JsonFileOption = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(metavar="FIGURE=FLOOR", help=_FLOOR)
    ] = None,
    engine: EngineOption = None,
    workers: WorkersOption = None,
) -> None:
    """Say how right routing is, what it costs and saves, and whether it is better than others."""
    from router_ml.evaluation.floors import read_floor
    from router_ml.evaluation.traffic import read_shares
    from router_ml.logs import read_mapping
    from router_ml.router import Router

    with one_sentence(), broken_rows(skip_broken) as broken:
        router = Router.load(artifact, policy=policy, catalog=catalog)
        floors = [read_floor(text) for text in fail_under or ()]
        shares = None if traffic is None else read_shares(traffic)
        to_file = None if json in {None, _PRINT} else Path(str(json))
        with open_sinks(report, markdown, to_file) as sinks:
            with progress("Deciding", None, transient=True) as done:
                make = _make_report(engine or ("local" if workers else None), workers)
                found = make(
                    files,
                    router,
                    _others(against, router),
                    by=by or (),
                    mapping=read_mapping(mapping or ()),
                    broken=broken,
                    volume=volume,
                    traffic=shares,
                    policy_name=policy_source(router.policy, policy),
                    catalog_name=catalog_source(catalog),
                    done=done,
                )
            missed = [miss for floor in floors if (miss := floor.missed_by(found))]
            _write(found, sinks)
        _show(found, as_json=json == _PRINT)
        _fail_if(missed)


def _make_report(engine: str | None, workers: int | None) -> Callable[..., Report]:
    """Return what evaluates: an engine, or this process where none is named."""
    if engine is not None:
        with needs("ray", "An engine"):
            from router_ml.batch import evaluate as on_engine
        return partial(on_engine, engine=engine, workers=workers)
    from router_ml.evaluation import find_system, make_report

    def here(files: Any, router: Router, names: Sequence[str], **options: Any) -> Report:
        return make_report(files, router, [find_system(n, router) for n in names], **options)

    return here


def _others(against: list[str] | None, router: Router) -> list[str]:
    """Return what to compare with: the keyword rules, where nothing else is asked for."""
    if against is None:
        from router_ml.evaluation import keywords_apply

        return ["keywords"] if keywords_apply(router.classifier.labels) else []
    return against


def _write(found: Report, sinks: Sequence[BinaryIO | None]) -> None:
    """Write the page, the Markdown and the JSON that are asked for."""
    from router_ml.evaluation.facts import encode_report
    from router_ml.evaluation.markdown import markdown
    from router_ml.evaluation.page import page

    for sink, make in zip(sinks, (page, markdown, encode_report), strict=True):
        if sink is not None:
            sink.write(make(found).encode("utf-8", "replace"))


def _show(found: Report, *, as_json: bool) -> None:
    from router_ml.evaluation.facts import encode_report

    if as_json:
        typer.echo(encode_report(found))
    else:
        show_report(found)


def _fail_if(missed: Sequence[str]) -> None:
    for sentence in missed:
        warn("below", sentence)
    if missed:
        raise typer.Exit(3)
