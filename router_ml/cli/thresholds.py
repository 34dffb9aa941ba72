"""`router-ml thresholds`: choose thresholds for a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.cli.console import one_sentence, print_json
from router_ml.cli.files import open_sinks
from router_ml.cli.options import (
    ArtifactOption,
    CatalogOption,
    JsonOption,
    PolicyOption,
    ReportOption,
    SeedOption,
)
from router_ml.errors import PolicyError, TargetError
from router_ml.policy import SHIPPED_POLICY, Policy
from router_ml.tables import show_section

if TYPE_CHECKING:
    from router_ml.evaluation.frontier import Frontier
    from router_ml.evaluation.judging import Judge
    from router_ml.evaluation.sections import Section
    from router_ml.evaluation.targets import Target
    from router_ml.evaluation.thresholds import Chosen

_TARGET = "As in `at most 5% of traffic to moonshot-k2.5`; none: the frontier."


def thresholds(
    files: Annotated[list[Path], typer.Argument(help="A log, JSON Lines; labelled if need be.")],
    target: Annotated[str | None, typer.Option(help=_TARGET)] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A policy file.")] = None,
    report: ReportOption = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Choose thresholds for a target on one half of a log, measure them on the other.

    \b
    at most 5% of traffic to MODEL               needs no labelled rows
    at most 5% of traffic to ROUTE by LABEL      says whose threshold moves
    recall of LABEL >= 0.99
    precision of LABEL >= 0.9
    cheapest with accuracy >= 0.95
    """
    from router_ml.evaluation.frontier import choose
    from router_ml.evaluation.judging import Judge
    from router_ml.evaluation.page import section_page
    from router_ml.evaluation.policy_text import policy_with
    from router_ml.router import Router

    with one_sentence():
        judge = Judge(Router.load(artifact, policy=policy, catalog=catalog))
        wanted = _wanted(target, judge, output)
        source = _policy_text(judge.router.policy, policy) if output else ""
        with open_sinks(report, output) as (to_page, to_policy):
            chosen, drawn = choose(judge, files, wanted, seed)
            parts = _parts(chosen, drawn)
            if to_page is not None:
                to_page.write(section_page("Thresholds", parts).encode())
            if to_policy is not None and chosen is not None:
                to_policy.write(policy_with(source, chosen.thresholds).encode())
        if as_json:
            print_json({"chosen": chosen, "frontier": drawn})
        else:
            for section, _ in parts:
                show_section(section)


def _wanted(target: str | None, judge: Judge, output: Path | None) -> Target | None:
    """Read the target; without one, there is no policy to write."""
    from router_ml.evaluation.targets import parse_target

    if target is not None:
        return parse_target(target, judge.router.policy, judge.labels)
    if output is not None:
        raise TargetError("There is no policy to write without a --target.")
    return None


def _policy_text(loaded: Policy, given: Path | None) -> str:
    """Return the TOML of the policy that is loaded."""
    if given is None and loaded != Policy.load():
        raise PolicyError("The artifact has labels of its own: write a policy, and pass --policy.")
    return (given or SHIPPED_POLICY).read_text(encoding="utf-8")


def _parts(chosen: Chosen | None, drawn: Frontier | None) -> list[tuple[Section, str]]:
    """Return what there is to say, each section with its chart."""
    from router_ml.evaluation.findings import chosen_section, frontier_chart, frontier_section

    parts = [(chosen_section(chosen), "")] if chosen else []
    return [*parts, (frontier_section(drawn), frontier_chart(drawn))] if drawn else parts
