"""`router-ml catalog`: show the models, and what is wrong with a policy."""

from __future__ import annotations

from typing import Any

import typer

from router_ml.artifact import find_artifact, load_artifact
from router_ml.catalog import Catalog
from router_ml.cli.console import one_sentence, print_json, warn
from router_ml.cli.options import ArtifactOption, CatalogOption, JsonOption, PolicyOption
from router_ml.policy import Policy
from router_ml.problems import find_problems, find_unreachable
from router_ml.tables import show_catalog


def catalog(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the models by price, and all that is wrong with a policy; exit 1 if anything is."""
    from router_ml.cascade import problems_of_second
    from router_ml.router import default_policy

    with one_sentence():
        models = Catalog.load(catalog)
        loaded = load_artifact(find_artifact(artifact))
        labels = loaded.config.labels
        rules = default_policy(labels) if policy is None else Policy.read(policy)
        problems = [*find_problems(rules, labels, models), *find_unreachable(rules)]
        problems += problems_of_second(rules, loaded)
        if as_json:
            print_json(_facts(models, problems))
        else:
            show_catalog(models)
            for problem in problems:
                warn("problem", problem)
        if problems:
            raise typer.Exit(1)


def _facts(catalog: Catalog, problems: list[str]) -> dict[str, Any]:
    models = {name: catalog.models[name] for name in catalog.rank("cheapest")}
    return {"baseline": catalog.baseline, "models": models, "problems": problems}
