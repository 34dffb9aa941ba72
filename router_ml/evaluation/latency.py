"""How long a decision takes on this machine: one at a time, in batches, and from a cold start.

Texts are cut out of the shipped artifact's golden rows, so that nothing but the wheel is
needed. They are a few kilobytes, which stay in the processor's caches: a figure under
load is higher. `benchmarks/speed.py` measures with other texts, with the caches emptied,
and beside what else one could use.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from router_ml.artifact import GoldenRow, find_artifact, load_artifact
from router_ml.router import Router

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
LENGTHS = (40, 200, 2_000, 20_000)
"""The buckets, in characters."""

RESIDENT_MB = """
def resident_mb():
    # The kernel's mark for this program. ru_maxrss is not lower than what the parent had
    # when it started this process, so it serves only where there is no other.
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource, sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
"""
"""Source of a function for a fresh process: its peak resident memory in MiB, None if unknown."""

_START = f"""
import json, sys, time
started = time.perf_counter()
from router_ml import Router
Router.load(sys.argv[1]).route(sys.argv[2])
took = time.perf_counter() - started
{RESIDENT_MB}
print(json.dumps({{"load_ms": took * 1000, "resident_mb": resident_mb()}}))
"""
_STARTS = 3
_WARM = 20
_STEP = 0.6180339887
"""From one text's beginning to the next, as a share of the rows: visits them evenly, whatever
their length (the golden ratio's fraction)."""

_SHORT = {"en": 60, "zh": 20}
"""Characters of a short prompt: 60 bytes of UTF-8 in either language."""
_ONE_BATCH = 256
"""So many short prompts are too little work for the classifier to start threads."""


class Latency(msgspec.Struct, frozen=True):
    """Percentiles of the time of single calls, in microseconds, and how many were made."""

    p50_us: float
    p99_us: float
    p999_us: float
    calls: int


class Start(msgspec.Struct, frozen=True):
    """What a fresh process pays before its second decision.

    Attributes:
        load_ms: importing router_ml, loading the artifact and deciding once, in
            milliseconds; the interpreter's own start is not in it.
        resident_mb: the most memory that was resident, in MiB; None where the system
            does not say.

    """

    load_ms: float
    resident_mb: float | None


class Bench(msgspec.Struct, frozen=True):
    """What `bench` measured.

    Attributes:
        latency: language -> characters -> one `Router.route` call.
        one_core_per_s: short prompts a second through `Router.route_many`, on one core.
        all_cores_per_s: the same on `cores` cores.
        cores: how many the machine has.
        start: a fresh process.

    """

    latency: dict[Language, dict[int, Latency]]
    one_core_per_s: float
    all_cores_per_s: float
    cores: int
    start: Start


def bench(router: Router, calls: int = 2_000) -> Bench:
    """Measure a router on this machine, in a few seconds.

    Args:
        router: as it serves.
        calls: single decisions for each language and length; batches are of four times
            as many prompts.

    """
    rows = load_artifact(find_artifact()).golden()
    latency = {
        language: {
            length: measure(router.route, islice(texts_of(length, language, rows), calls))
            for length in LENGTHS
        }
        for language in LANGUAGES
    }
    prompts = short_prompts(4 * calls, rows)
    batches = [prompts[at : at + _ONE_BATCH] for at in range(0, len(prompts), _ONE_BATCH)]
    return Bench(
        latency,
        one_core_per_s=per_second(router.route_many, batches),
        all_cores_per_s=per_second(router.route_many, [prompts]),
        cores=os.cpu_count() or 1,
        start=start(router.artifact.path),
    )


def measure(route: Callable[[str], object], texts: Iterable[str]) -> Latency:
    """Time one call for each text.

    Args:
        route: what is timed.
        texts: at least one; the first are also asked once before the clock runs. They may
            be made as they are taken: that is not timed.

    Raises:
        ValueError: there are no texts.

    """
    waiting = iter(texts)
    first = list(islice(waiting, _WARM))
    for text in first:
        route(text)
    return latency_of([_time_ns(route, text) for text in chain(first, waiting)])


def _time_ns(route: Callable[[str], object], text: str) -> int:
    started = perf_counter_ns()
    route(text)
    return perf_counter_ns() - started


def latency_of(times_ns: ArrayLike) -> Latency:
    """Return the percentiles of times in nanoseconds.

    Raises:
        ValueError: there are no times.

    """
    times = np.asarray(times_ns, np.float64) / 1000
    if not times.size:
        raise ValueError("There is no call to take percentiles of.")
    p50, p99, p999 = np.percentile(times, (50, 99, 99.9)).tolist()
    return Latency(p50, p99, p999, times.size)


def texts_of(length: int, language: Language, rows: Sequence[GoldenRow]) -> Iterator[str]:
    """Yield texts of a length for ever, cut at rotating offsets out of golden rows.

    Args:
        length: of each text, in characters.
        language: of the rows to cut from.
        rows: an artifact's; they are joined, and repeated if that is too short.

    Raises:
        ValueError: no row is in that language.

    """
    speaks = {"en": _is_english, "zh": _is_chinese}[language]
    body = "\n".join(row.turn for row in rows if speaks(row.turn))
    if not body:
        raise ValueError(f"No golden row is written in {language!r}.")
    unit = body + "\n"
    endless = unit * (length // len(unit) + 2)
    for number in count():
        at = int(number * _STEP * len(unit)) % len(unit)
        yield endless[at : at + length]


def _is_chinese(text: str) -> bool:
    """Han characters and no kana: Japanese is written with both."""
    han = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return 4 * han >= len(text) > 0 and not any("\u3040" <= c <= "\u30ff" for c in text)


def _is_english(text: str) -> bool:
    """Near enough: what is not ASCII, a sign or a quotation mark, is rare."""
    return sum(map(str.isascii, text)) >= 0.95 * len(text) > 0


def short_prompts(prompts: int, rows: Sequence[GoldenRow]) -> list[str]:
    """Return prompts of about 60 bytes, English and Chinese in turn."""
    each = [texts_of(_SHORT[language], language, rows) for language in LANGUAGES]
    pairs = chain.from_iterable(zip(*each, strict=True))
    return list(islice(pairs, prompts))


def per_second(
    route_many: Callable[[Sequence[str]], Sequence[Any]], batches: Sequence[Sequence[str]]
) -> float:
    """Return how many prompts a second are decided, one batch after the other."""
    route_many(batches[0][:_WARM])
    started = perf_counter()
    decided = sum(len(route_many(batch)) for batch in batches)
    return decided / (perf_counter() - started)


def start(artifact: Path, starts: int = _STARTS) -> Start:
    """Start fresh processes that load an artifact and decide once; the median of each figure.

    They run as this interpreter is set up: where it writes no bytecode
    (`PYTHONDONTWRITEBYTECODE`), a package without any is compiled anew by every one.

    Args:
        artifact: its directory.
        starts: how many, one after the other.

    Raises:
        subprocess.CalledProcessError: a process failed.

    """
    found = [_start(artifact) for _ in range(starts)]
    resident = [one.resident_mb for one in found if one.resident_mb is not None]
    return Start(median(one.load_ms for one in found), median(resident) if resident else None)


def _start(artifact: Path) -> Start:
    command = [sys.executable, "-c", _START, str(artifact), "Prove that √2 is irrational"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Start)
