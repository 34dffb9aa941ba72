"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LOG = (
    "A file, a directory or a glob: JSON Lines, JSON, CSV (also .gz, .zst), Parquet, SQLite, "
    "DuckDB (FILE::TABLE)."
)

LogArgument = Annotated[str, typer.Argument(metavar="LOG", help=_LOG)]
LogsArgument = Annotated[list[str], typer.Argument(metavar="LOG...", help=_LOG)]
RecipeOrLogsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RECIPE_OR_LOG...", help="A recipe (TOML), or labelled logs."),
]
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE_OR_LOG", help="A recipe (TOML), or a labelled log.")
]

ArtifactOption = Annotated[str | None, typer.Option(help="Artifact directory or shipped name.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy file (TOML).")]
CatalogOption = Annotated[Path | None, typer.Option(help="Catalog file (TOML).")]

MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=PLACE", help="Where rows keep it: prompt=body.text."),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-broken", help="Pass over rows that cannot be read, and count them.")
]
_SCRUB = (
    "Take out e-mail addresses, phone numbers (as dialled in US, DE …), keys and card "
    "numbers before anything else is done."
)
ScrubOption = Annotated[str, typer.Option("--scrub", metavar="COUNTRY", help=_SCRUB)]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**32, help="Of the draw that divides or samples rows.")
]

_ENGINE = (
    "`local`, the cores of this machine, or `ray`, those of a cluster, for logs of any size: "
    "JSON Lines, CSV and Parquet, local or URIs (s3://, gs://). Needs the extra `ray`."
)
EngineOption = Annotated[str | None, typer.Option(help=_ENGINE)]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Of an engine, how many; one for each core by default.")
]

PublicDataOption = Annotated[
    Path | None,
    typer.Option(envvar="ROUTER_ML_PUBLIC_DATA", help="Where a recipe's public: files lie."),
]
BaseUrlOption = Annotated[str | None, typer.Option(envvar="OPENAI_BASE_URL")]
ApiKeyOption = Annotated[
    str | None, typer.Option(envvar="OPENAI_API_KEY", help="Is never written.")
]

ReportOption = Annotated[Path | None, typer.Option(help="Write an HTML page.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]


def names_in(text: str) -> list[str]:
    """Return the names that an option lists by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
