"""`router-ml litellm-config`: print a configuration of LiteLLM's proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router_ml.artifact import find_artifact
from router_ml.cli.console import needs, one_sentence
from router_ml.cli.options import ArtifactOption, CatalogOption


def litellm_config(
    policy: Annotated[Path, typer.Argument(help="Policy file (TOML).")],
    artifact: ArtifactOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Print a configuration of LiteLLM's proxy that routes by a policy."""
    from router_ml.router import Router

    with one_sentence():
        with needs("litellm", "Writing LiteLLM's configuration"):
            from router_ml.integrations.litellm_config import configuration
        router = Router.load(artifact, policy=policy, catalog=catalog)
        files = {
            "POLICY": policy,
            "CATALOG": catalog,
            "ARTIFACT": artifact and find_artifact(artifact),
        }
        environment = {
            f"ROUTER_ML_{name}": str(Path(file).absolute()) for name, file in files.items() if file
        }
        typer.echo(configuration(router, environment), nl=False)
