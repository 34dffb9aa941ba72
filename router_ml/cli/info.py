"""`router-ml info`: say what is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import typer

from router_ml.cli.console import one_sentence
from router_ml.cli.options import ArtifactOption, CatalogOption, JsonOption, PolicyOption
from router_ml.cli.sources import catalog_source, policy_source
from router_ml.tables import out

if TYPE_CHECKING:
    from router_ml.artifact import Artifact
    from router_ml.router import Router


def info(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is loaded, and whether it answers here as it did where it was made."""
    from router_ml.classifier import check_replay
    from router_ml.router import Router

    with one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        replays = [*router.replays()]
        facts = {
            **_versions(),
            **_facts(router),
            "policy": policy_source(router.policy, policy),
            "catalog": catalog_source(catalog),
            **_golden(*replays[0][1:]),
        }
        if router.second is not None:
            facts["second"] = {**_facts_of(router.second), **_golden(*replays[1][1:])}
        encoded = msgspec.json.encode(facts).decode()
        if as_json:
            typer.echo(encoded)
        else:
            out.print_json(encoded)
        for each, _, difference in replays:
            check_replay(each, difference)


def _versions() -> dict[str, str]:
    import onnxruntime

    from router_ml import __version__

    return {"version": __version__, "onnxruntime": onnxruntime.__version__}


def _golden(rows: int, difference: float) -> dict[str, Any]:
    return {"golden": {"rows": rows, "largest_difference": difference}}


def _facts_of(artifact: Artifact) -> dict[str, Any]:
    config = artifact.config
    return {
        "artifact": str(artifact.path),
        "name": config.name,
        "thresholds": config.thresholds,
        "input": config.input,
        "trained": config.trained,
    }


def _facts(router: Router) -> dict[str, Any]:
    return {
        **_facts_of(router.artifact),
        "routes": list(dict.fromkeys(rule.route for rule in router.policy.rules)),
        "baseline": router.catalog.baseline,
    }
