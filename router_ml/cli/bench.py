"""`router-ml bench`: measure how fast this machine decides."""

from __future__ import annotations

from typing import Annotated

import typer

from router_ml.cli.console import one_sentence, print_json
from router_ml.cli.options import ArtifactOption, CatalogOption, JsonOption, PolicyOption
from router_ml.tables import show_bench


def bench(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    calls: Annotated[int, typer.Option(min=100, help="Decisions for each length.")] = 2000,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast this machine decides: one at a time, in batches, from a cold start."""
    from router_ml.evaluation.latency import bench as measure
    from router_ml.router import Router

    with one_sentence():
        found = measure(Router.load(artifact, policy=policy, catalog=catalog), calls)
        if as_json:
            print_json(found)
        else:
            show_bench(found)
