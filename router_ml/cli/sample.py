"""`router-ml sample`: draw rows of a log to be labelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.cli.console import broken_rows, needs, one_sentence
from router_ml.cli.files import open_sink
from router_ml.cli.options import (
    ArtifactOption,
    CatalogOption,
    EngineOption,
    LogsArgument,
    MapOption,
    PolicyOption,
    SeedOption,
    SkipOption,
    WorkersOption,
)
from router_ml.cli.progress import progress
from router_ml.plurals import counted
from router_ml.tables import out

if TYPE_CHECKING:
    from router_ml.batch.sampling import Drawn

_BY = "As many of each: `route`, `label` (as decided), or a field of the rows."


def sample(
    files: LogsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write, JSON Lines.")],
    rows: Annotated[int, typer.Option(min=1, help="How many.")],
    by: Annotated[str, typer.Option(metavar="STRATA", help=_BY)] = "",
    uncertain: Annotated[
        bool, typer.Option("--uncertain", help="Those whose decision is least sure.")
    ] = False,
    seed: SeedOption = 0,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    engine: EngineOption = None,
    workers: WorkersOption = None,
) -> None:
    """Draw rows of a log to be labelled, in one pass; the same log gives the same rows."""
    from router_ml.logs import read_mapping
    from router_ml.router import Router

    with one_sentence(), broken_rows(skip_broken) as broken:
        with needs("ray", "Sampling a log"):
            from router_ml.batch import Plan, draw
        router = Router.load(artifact, policy=policy, catalog=catalog)
        with open_sink(output) as sink:
            with progress("Reading", None, transient=True) as done:
                found = draw(
                    files,
                    router,
                    Plan(rows, by, uncertain, seed),
                    engine=engine or "local",
                    workers=workers,
                    mapping=read_mapping(mapping or ()),
                    broken=broken,
                    done=done,
                )
            sink.writelines(found.lines())
        _show(found, by, output)


def _show(found: Drawn, by: str, output: Path) -> None:
    seen = f"{len(found.rows):,} of {counted(found.usable, 'row')}"
    out.print(f"{seen}; {found.passed_over:,} passed over, with parts or without words.")
    if by:
        parts = ", ".join(f"{stratum} {rows:,}" for stratum, rows in found.strata.items())
        out.print(f"By {by}: {parts}.", soft_wrap=True)
    out.print(f"They are in {output}: router-ml label {output}", soft_wrap=True)
