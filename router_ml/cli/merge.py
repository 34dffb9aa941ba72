"""`router-ml merge`: join the answers of several people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router_ml.cli.console import one_sentence, print_json
from router_ml.cli.files import check_unread, write_rows
from router_ml.cli.options import JsonOption
from router_ml.tables import show_merged

_DISPUTED = "Where to write the rows they disagree on, to be settled."


def merge(
    files: Annotated[list[Path], typer.Argument(help="Answers of several people.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.")],
    disputed: Annotated[Path | None, typer.Option(help=_DISPUTED)] = None,
    trust_first: Annotated[
        bool, typer.Option("--trust-first", help="Without a majority, the first file is right.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Join the answers of several people; list disagreements, measure agreement."""
    with one_sentence():
        from router_ml.labelling.merge import merge_answers

        for target in filter(None, (output, disputed)):
            check_unread(target, files)
        found = merge_answers(files, trust_first=trust_first)
        write_rows(output, found.rows)
        if disputed is not None:
            write_rows(disputed, [{**d.row, "answers": d.answers} for d in found.disagreements])
        if as_json:
            facts = {"rows": len(found.rows), "agreements": found.agreements}
            facts["disagreements"] = found.disagreements
            print_json(facts)
        else:
            show_merged(found)
