"""`router-ml check`: find the labels of a log that are wrong or too few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from router_ml.cli.console import broken_rows, needs, one_sentence, print_json
from router_ml.cli.options import JsonOption, LogsArgument, MapOption, SkipOption
from router_ml.cli.progress import progress
from router_ml.cli.recipe import FOLDS
from router_ml.tables import out, show_list

if TYPE_CHECKING:
    from router_ml.training import Findings
    from router_ml.training.checking import Place


def check(
    source: LogsArgument,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which labels of a log are wrong or too few, row by row; exit 1 if any are."""
    with one_sentence(), needs("train", "Training"), broken_rows(skip_broken) as broken:
        from router_ml.logs import read_log, read_mapping
        from router_ml.training import Recipe
        from router_ml.training import check as run
        from router_ml.training.recipe import DataRecipe

        recipe = Recipe(data=DataRecipe(folds=FOLDS))
        rows = read_log(source, mapping=read_mapping(mapping or ()), broken=broken)
        found = run(rows, recipe, broken, progress)
        if as_json:
            print_json(found)
        else:
            _show_findings(found)
        if not found.clean:
            raise typer.Exit(1)


def _show_findings(found: Findings) -> None:
    layouts = ", ".join(f"{name} {count:,}" for name, count in found.layouts.items())
    out.print(f"{found.rows:,} rows of {len(found.labels)} labels ({layouts}).", soft_wrap=True)
    out.print(f"{found.repeated:,} repeat another; training leaves them out.")
    small = [f"{name}: {count}" for name, count in found.small.items()]
    show_list("Labels with too few distinct rows to learn:", small)
    for title, some in (
        ("The same words under different labels:", found.conflicts),
        ("The same words in more than one file:", found.leaks),
    ):
        show_list(title, [f"{one.text}: {'; '.join(map(_place, one.rows))}" for one in some])
    suspects = [f"{_place(one.row)}, {_said(one.said)}: {one.text}" for one in found.suspects]
    show_list("Labels that are probably wrong, the surest first:", suspects)
    if found.unjudged:
        out.print(f"Wrong labels were not looked for: {found.unjudged}", soft_wrap=True)


def _place(row: Place) -> str:
    return f"{row.file}:{row.line} {'+'.join(row.labels) or '(none)'}"


def _said(probabilities: dict[str, float]) -> str:
    return ", ".join(f"{label} {p:.2f}" for label, p in probabilities.items())
