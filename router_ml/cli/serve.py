"""`router-ml serve`: decide over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from router_ml.cli.console import err, needs, one_sentence
from router_ml.cli.options import ArtifactOption, CatalogOption, PolicyOption

_TOKEN = "The bearer token that callers must have."


def serve(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8790,
    token: Annotated[str | None, typer.Option(envvar="ROUTER_ML_TOKEN", help=_TOKEN)] = None,
    body_bytes: Annotated[int, typer.Option(min=1, help="The longest body.")] = 8_000_000,
    at_once: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 64,
) -> None:
    """Decide over HTTP, for gateways in any language; files that change are taken up."""
    with one_sentence():
        with needs("serve", "Serving"):
            from router_ml.service.app import Limits, Service
            from router_ml.service.server import serve as run
        from router_ml.reload import ReloadingRouter

        with ReloadingRouter.load(artifact, policy=policy, catalog=catalog) as router:
            service = Service(router, token=token or None, limits=Limits(body_bytes, at_once))
            run(service, host, port, lambda url: err.print(f"Deciding on {url}"))
