"""`router-ml route`: decide on one request."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from router_ml.cli.console import one_sentence, print_json
from router_ml.cli.options import ArtifactOption, CatalogOption, JsonOption, PolicyOption
from router_ml.tables import show_decision


def route(
    prompt: Annotated[str, typer.Argument(help="The request's text; - reads standard input.")],
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide on one request."""
    from router_ml.router import Router

    with one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        text = sys.stdin.buffer.read().decode("utf-8", "replace") if prompt == "-" else prompt
        decision = router.route(text)
        if as_json:
            print_json(decision)
        else:
            show_decision(decision, router)
