"""Inside LiteLLM: what a door of ours adds to a request, and who is right, beside its heuristics.

    python benchmarks/gateway.py --requests 500 -o gateway.json

needs the extras `litellm` and `serve`. One proxy process, one provider and one service of
ours, all on loopback; requests for a fixed model, by LiteLLM's heuristics and by our three
doors take turns over one connection, so that what else the machine does meets them alike.
What is added is a percentile less the fixed model's; "fixed again" says how much is noise.

Accuracy is on the test themes, which nothing was trained on or chosen by, with LiteLLM's own
tiers, SIMPLE to REASONING. A heuristic grades complexity and knows no Chinese or images, so
the fair question is the second one: is it maths? There each heuristic says yes from the tier
on, MEDIUM or above, that gives it the best F1 on these very rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing it asks the internet for prices

from gateways import (  # noqa: E402
    BUILT_IN,
    by_complexity,
    by_system_one,
    complexity_router,
    deployment,
    proxy,
)
from litellm.router_strategy.complexity_router.complexity_router import (  # noqa: E402
    ComplexityRouter,
)
from upstream import running_upstream, serving  # noqa: E402

from router_ml import Policy, Router  # noqa: E402
from router_ml.examples import Example, read_examples  # noqa: E402
from router_ml.integrations.litellm import COMPLEXITY  # noqa: E402
from router_ml.service.app import Service  # noqa: E402

HEURISTICS = ("heuristic", "heuristic_v2")
OURS = "router-ml"
FIXED, AGAIN = "fixed model", "fixed again"
WARM_UP = 20
ROWS = sorted((ROOT / "training" / "prompts" / "test").glob("*.jsonl"))
LANGUAGES = {"English": ("en",), "Chinese": ("zh-Hans", "zh-Hant", "yue-Hant")}
Judge = Callable[[Example], str]


class Latency(NamedTuple):
    """Milliseconds, and how many more than the fixed model's."""

    p50: float
    p99: float
    added_p50: float
    added_p99: float


class Accuracy(NamedTuple):
    """How many rows, the share that got the right tier, and F1 of what is maths."""

    rows: int
    tier: dict[str, float]
    maths: dict[str, float]


def measure(requests: int, prompts: Sequence[str]) -> dict[str, Latency]:
    """Send prompts through every door in turn."""
    router = Router.load()
    with (
        running_upstream() as upstream,
        serving(Service(router).app) as service,
        tempfile.TemporaryDirectory() as directory,
    ):
        config, doors = configuration(upstream, service)
        with proxy(Path(directory), config, PYTHONPATH=str(ROOT), ROUTER_ML_AUTO="hook") as client:

            def ask(model: str, prompt: str) -> float:
                messages = [{"role": "user", "content": prompt}]
                started = perf_counter()
                answer = client.post(
                    "/v1/chat/completions", json={"model": model, "messages": messages}
                )
                took = perf_counter() - started
                answer.raise_for_status()
                return took * 1000

            times: dict[str, list[float]] = {door: [] for door in doors}
            for number in range(WARM_UP + requests):
                prompt = prompts[number % len(prompts)]
                turn = number % len(doors)
                for door in (*list(doors)[turn:], *list(doors)[:turn]):
                    took = ask(doors[door], prompt)
                    if number >= WARM_UP:
                        times[door].append(took)
    return latencies(times)


def configuration(upstream, service: str) -> tuple[dict, dict[str, str]]:
    """Return the proxy's configuration, and what each door's model is called."""
    plugin = {
        "classifier_type": "custom",
        "classifier_plugin": "router_ml.integrations.litellm.by_complexity",
    }
    routers = {
        "heuristic": by_complexity(classifier_type="heuristic"),
        "heuristic_v2": by_complexity(classifier_type="heuristic_v2"),
        "plugin": by_complexity(**plugin),
        "system-one": by_system_one(service),
    }
    models = dict.fromkeys(name for rule in Policy.load().rules for name in rule.models)
    models |= dict.fromkeys(Policy.load().uncertain.models)
    config = {
        "model_list": [
            *(deployment(name, upstream) for name in (*BUILT_IN, *models, "hook")),
            *(complexity_router(name, given, "SIMPLE") for name, given in routers.items()),
        ],
        "litellm_settings": {"callbacks": ["router_ml.integrations.litellm_hook.hook"]},
        "general_settings": {"master_key": "sk-of-the-test"},
    }
    ours = {f"router-ml, {name}": name for name in ("plugin", "hook", "system-one")}
    beside = {f"LiteLLM, {name}": name for name in HEURISTICS}
    return config, {FIXED: "SIMPLE", AGAIN: "SIMPLE", **beside, **ours}


def latencies(times: dict[str, list[float]]) -> dict[str, Latency]:
    """Return each door's percentiles and what it adds; a median of the turns' own differences."""
    ends = {door: quantiles(taken, n=100)[98] for door, taken in times.items()}
    return {
        door: Latency(
            median(taken),
            ends[door],
            median(map(float.__sub__, taken, times[FIXED])),
            ends[door] - ends[FIXED],
        )
        for door, taken in times.items()
    }


def compare(examples: Sequence[Example]) -> dict[str, Accuracy]:
    """Judge held-out rows by the heuristics and by ours, language by language."""
    router = Router.load()
    judges = {name: heuristic(name) for name in HEURISTICS}
    judges[OURS] = lambda example: COMPLEXITY[router.route(example.request).route]
    said = {name: [judge(example) for example in examples] for name, judge in judges.items()}
    truths = [true_tier(router.policy, example) for example in examples]
    named = {lang for langs in LANGUAGES.values() for lang in langs}
    groups = {**LANGUAGES, "others": tuple({e.lang for e in examples} - named)}
    found = {"all": range(len(examples))}
    found |= {
        name: [at for at, example in enumerate(examples) if example.lang in langs]
        for name, langs in groups.items()
    }
    return {name: accuracy(rows, truths, said) for name, rows in found.items()}


def heuristic(name: str) -> Judge:
    """Return one of LiteLLM's own scorers, asked for the last words of the user's."""
    scorer = ComplexityRouter("auto", None, {"classifier_type": name}, "default")

    def judge(example: Example) -> str:
        words = [turn.text for turn in example.request.turns if turn.role == "user"][-1]
        return asyncio.run(scorer.aclassify(words)).tier.value

    return judge


def true_tier(policy: Policy, example: Example) -> str:
    """Return the tier of the route that the row's labels take."""
    return COMPLEXITY[policy.choose(frozenset(example.labels)).route]


def accuracy(rows: Sequence[int], truths: Sequence[str], said: dict[str, list[str]]) -> Accuracy:
    """Count how often each is right; maths is REASONING, of a heuristic from its best tier on."""
    tier = {
        name: sum(tiers[at] == truths[at] for at in rows) / len(rows)
        for name, tiers in said.items()
    }
    maths = {
        name: max(
            f1([(is_from(tiers[at], lowest), is_from(truths[at], BUILT_IN[-1])) for at in rows])
            for lowest in (BUILT_IN[-1:] if name == OURS else BUILT_IN[1:])
        )
        for name, tiers in said.items()
    }
    return Accuracy(len(rows), tier, maths)


def is_from(tier: str, lowest: str) -> bool:
    """Say whether a tier is this one or above it."""
    return BUILT_IN.index(tier) >= BUILT_IN.index(lowest)


def f1(answers: Sequence[tuple[bool, bool]]) -> float:
    """Return the F1 of (said, true) pairs."""
    both = sum(said and true for said, true in answers)
    return 2 * both / sum(said + true for said, true in answers)


def show(found: dict[str, Latency], judged: dict[str, Accuracy]) -> None:
    """Print both tables as Markdown."""
    print(f"{platform.platform()}, {os.cpu_count()} cores; Python {platform.python_version()}.\n")
    if found:
        print("| door, ms | p50 | p99 | added p50 | added p99 |\n|---|---|---|---|---|")
    for door, t in found.items():
        print(f"| {door} | {t.p50:.2f} | {t.p99:.2f} | {t.added_p50:+.2f} | {t.added_p99:+.2f} |")
    names = (*HEURISTICS, OURS)
    heads = [f"{question}, {name}" for question in ("tier", "F1 of maths") for name in names]
    print(f"\n| language | rows | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
    for language, a in judged.items():
        shares = [f"{share[name]:.3f}" for share in (a.tier, a.maths) for name in names]
        print(f"| {language} | {a.rows} | {' | '.join(shares)} |")


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=500, help="for each door; 0: accuracy only")
    parser.add_argument("-o", "--output", type=Path, help="where to write JSON")
    given = parser.parse_args()
    examples = read_examples(ROWS)
    prompts = [e.request.turns[-1].text for e in examples if len(e.request.turns) == 1]
    judged = compare(examples)
    step = max(1, len(prompts) // max(1, given.requests))
    found = measure(given.requests, prompts[::step]) if given.requests else {}
    show(found, judged)
    if given.output:
        rows = {name: row._asdict() for name, row in (found | judged).items()}
        given.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
