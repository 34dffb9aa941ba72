"""What the routed client adds to a request: its latency beside the plain client's.

    python benchmarks/dispatch.py --requests 2000

A local provider, a process of its own, answers at once. Plain, named and routed requests take
turns, over one open connection for each client, so that what else the machine does meets them
alike. What is added is a kind's percentile less the plain one's; the row "plain again" says how
much of that is noise. Processor time is the client's alone, and tells on a busy machine what
latency cannot. Exits with 1 if routing adds 1 ms or more to the 99th percentile of latency,
beyond that noise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from time import perf_counter, thread_time
from typing import Any, NamedTuple

import openai

from router_ml import Router
from router_ml.dispatch import AsyncRoutedOpenAI, RoutedOpenAI

PROVIDER = Path(__file__).parent.parent / "examples" / "dispatch" / "provider.py"
MESSAGES = [{"role": "user", "content": "Prove that the square root of 2 is irrational. " * 4}]
BOUND_MS = 1.0
WARM_UP = 50

Ask = Callable[[str], Awaitable[Any]]


def sync_asker(client: openai.OpenAI, *, stream: bool) -> Ask:
    """Return what asks with a sync client."""

    async def ask(model: str) -> None:
        answer = client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
        if stream:
            for _ in answer:
                pass

    return ask


def async_asker(client: openai.AsyncOpenAI, *, stream: bool) -> Ask:
    """Return what asks with an async client."""

    async def ask(model: str) -> None:
        answer = await client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
        if stream:
            async for _ in answer:
                pass

    return ask


class Times(NamedTuple):
    """Milliseconds, one of each a request."""

    latency: list[float]
    processor: list[float]


async def clock(ask: Ask, model: str, times: Times) -> None:
    """Note how long one request takes."""
    began, busy = perf_counter(), thread_time()
    await ask(model)
    times.latency.append((perf_counter() - began) * 1000)
    times.processor.append((thread_time() - busy) * 1000)


async def measure(plain: Ask, routed: Ask, requests: int) -> dict[str, Times]:
    """Let the kinds of request take turns; return the times of each."""
    turns = {
        "plain": (plain, "moonshot-k2.5"),
        "plain again": (plain, "moonshot-k2.5"),
        "named": (routed, "moonshot-k2.5"),
        "auto": (routed, "auto"),
    }
    took = {name: Times([], []) for name in turns}
    for _ in range(requests + WARM_UP):
        for name, (ask, model) in turns.items():
            await clock(ask, model, took[name])
    return {name: Times(*(part[WARM_UP:] for part in times)) for name, times in took.items()}


def percentiles(times: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


def row(times: list[float], plain: list[float]) -> str:
    """Return the percentiles of a kind, and what they are over the plain ones."""
    (p50, p99), (plain50, plain99) = percentiles(times), percentiles(plain)
    return f"{p50:7.3f} {p99:7.3f} {p50 - plain50:+7.3f} {p99 - plain99:+7.3f}"


def report(face: str, took: dict[str, Times]) -> bool:
    """Print a face's table; say whether what routing adds is within the bound."""
    plain = took["plain"]
    for name, times in took.items():
        rows = (row(*both) for both in zip(times, plain, strict=True))
        print(f"{face:>12} {name:>11}  {'  '.join(rows)}", flush=True)
    plain99, again99, auto99 = (
        percentiles(took[name].latency)[1] for name in ("plain", "plain again", "auto")
    )
    return auto99 - plain99 - abs(again99 - plain99) < BOUND_MS


@contextmanager
def provider() -> Iterator[str]:
    """Run the provider of the examples in a process of its own; yield its URL."""
    command = [sys.executable, str(PROVIDER), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGINT)


def run_sync(url: str, router: Router, requests: int, *, stream: bool) -> dict[str, Times]:
    """Measure the sync clients."""
    with (
        openai.OpenAI(base_url=url, api_key="none") as plain,
        RoutedOpenAI(base_url=url, api_key="none", router=router) as routed,
    ):
        askers = sync_asker(plain, stream=stream), sync_asker(routed, stream=stream)
        return asyncio.run(measure(*askers, requests))


def run_async(url: str, router: Router, requests: int, *, stream: bool) -> dict[str, Times]:
    """Measure the async clients."""

    async def run() -> dict[str, Times]:
        async with (
            openai.AsyncOpenAI(base_url=url, api_key="none") as plain,
            AsyncRoutedOpenAI(base_url=url, api_key="none", router=router) as routed,
        ):
            askers = async_asker(plain, stream=stream), async_asker(routed, stream=stream)
            return await measure(*askers, requests)

    return asyncio.run(run())


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000, help="of each kind")
    requests = parser.parse_args().requests
    router = Router.load()
    print(f"{platform.machine()}, Python {platform.python_version()}, openai {openai.__version__}")
    print(f"{requests} requests of each kind, milliseconds")
    heads = f"{'p50':>7} {'p99':>7} {'+p50':>7} {'+p99':>7}"
    print(f"{'latency':>32}{'processor time':>40}\n{'':>24}  {heads}  {heads}")
    gc.freeze()
    is_within = True
    with provider() as url:
        for face, run in (("sync", run_sync), ("async", run_async)):
            for stream in (False, True):
                took = run(url, router, requests, stream=stream)
                is_within &= report(face + (" stream" if stream else ""), took)
    sys.exit(0 if is_within else f"A routed request takes {BOUND_MS} ms longer or more.")


if __name__ == "__main__":
    main()
