"""`router-ml check`: find the labels of a log that are wrong or too few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.cli.console import broken_rows, err, find_logs, needs, one_sentence, print_json
from router_ml.cli.options import JsonOption, LogsArgument, MapOption, ScrubOption, SkipOption
from router_ml.cli.progress import progress
from router_ml.cli.recipe import FOLDS
from router_ml.plurals import counted
from router_ml.tables import out, show_list

if TYPE_CHECKING:
    from router_ml.training import Findings
    from router_ml.training.checking import Place


def check(
    source: LogsArgument,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    scrub: ScrubOption = "",
    fix: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Ask what to do; write what is left there.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do the usual, without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which labels of a log are wrong or too few, row by row; exit 1 if any are.

    With --fix each file that is left is written to DIR. Name files that are only measured on
    last: what leaks is taken out of the others.
    """
    with one_sentence(), needs("train", "Training"), broken_rows(skip_broken) as broken:
        from router_ml.logs import read_log, read_mapping
        from router_ml.training import Recipe
        from router_ml.training import check as run
        from router_ml.training.recipe import DataRecipe

        recipe, places = Recipe(data=DataRecipe(folds=FOLDS)), read_mapping(mapping or ())
        files = find_logs(source)
        rows = read_log(files, mapping=places, broken=broken, scrub=scrub)
        found = run(rows, recipe, broken, progress)
        if as_json:
            print_json(found)
        else:
            _show_findings(found)
        if fix is not None:
            from router_ml.cli.fix import ask, write_fixed
            from router_ml.training.fixing import fixed_rows

            fixes = ask(found, usual=yes)
            again = read_log(files, mapping=places, broken=lambda error: None, scrub=scrub)
            left = fixed_rows(again, fixes.rows, mapped=bool(places))
            for path, count in write_fixed(left, fix, files):
                said = f"Wrote {path}: {counted(count, 'row')}."
                err.print(said if count else f"No {path}: 0 rows are left.", soft_wrap=True)
        elif not found.clean:
            raise typer.Exit(1)


def _show_findings(found: Findings) -> None:
    layouts = ", ".join(f"{name} {count:,}" for name, count in found.layouts.items())
    rows, labels = counted(found.rows, "row"), counted(len(found.labels), "label")
    out.print(f"{rows} of {labels} ({layouts}).", soft_wrap=True)
    learned, left_out = found.rows - found.left_out.total, str(found.left_out)
    if left_out:
        out.print(f"Training learns from {learned:,} and leaves out {left_out}.", soft_wrap=True)
    show_list("Labels that differ only in case or white space:", list(map(", ".join, found.alike)))
    small = [f"{name}: {count}" for name, count in found.small.items()]
    show_list("Labels with too few distinct rows to learn:", small)
    for title, some in (
        ("The same words under different labels:", found.conflicts),
        ("Nearly the same words in more than one file:", found.leaks),
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
