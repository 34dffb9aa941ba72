"""`router-ml conformance`: check how chats of every shape are decided on."""

from __future__ import annotations

from typing import Annotated

import typer

from router_ml.cli.console import one_sentence
from router_ml.cli.options import ArtifactOption, CatalogOption, PolicyOption
from router_ml.tables import out

_URL = "A service that answers a posted payload with a `route`; none: ours."


def conformance(
    url: Annotated[str | None, typer.Argument(help=_URL)] = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Check how chats of every shape are decided on; exit 1 if any is decided otherwise."""
    from router_ml.conformance import ask_over_http, ask_router, failures, read_cases
    from router_ml.router import Router

    with one_sentence():
        if url is None:
            ask = ask_router(Router.load(artifact, policy=policy, catalog=catalog))
        else:
            ask = ask_over_http(url)
        failed = list(failures(ask))
        for case, answer in failed:
            out.print(f"{case.id}: {answer.route} ({answer.reason}), not {case.route}")
        cases = len(read_cases())
        out.print(f"{cases - len(failed)} of {cases} cases are as expected.")
        if failed:
            raise typer.Exit(1)
