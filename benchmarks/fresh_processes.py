"""Processes of a candidate's own: how soon one decides, and how many prompts it does a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from candidates import Candidate
from fitted_peers import Rows
from progress import progress

from router_ml.classifier import plain_text
from router_ml.evaluation.latency import RESIDENT_MB

STARTS = 5
BATCH = 1024
SHORT_BYTES = range(45, 76)
"""A short prompt: around 60 bytes of UTF-8."""
START_PROGRAM = """
from time import perf_counter
started = perf_counter()
{code}
decide("Prove that the square root of 2 is irrational")
took = perf_counter() - started
{resident_mb}
import json
print(json.dumps([took * 1000, resident_mb()]))
"""
BATCH_PROGRAM = """
import json, os, sys, time
core, size, prepare = int(sys.argv[1]), int(sys.argv[3]), list
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {{core}})  # before anything counts the cores and starts threads
{code}
texts = prepare(json.load(open(sys.argv[2]))[:size])
decide_many(texts)
print("ready", flush=True)
sys.stdin.readline()
started, busy, took, decided = time.perf_counter(), time.process_time(), 0.0, 0
while took < 1:
    decide_many(texts)
    decided += len(texts)
    took = time.perf_counter() - started
print(json.dumps([decided / took, (time.process_time() - busy) / took]))
"""


def cold_start(candidate: Candidate) -> dict[str, float]:
    """Return the medians of a fresh process's time to its first decision, and its memory."""
    program = START_PROGRAM.format(code=candidate.code, resident_mb=RESIDENT_MB)
    runs = []
    for _ in range(STARTS + 1):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=plain(), capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    took, resident = zip(*runs[1:], strict=True)  # the first run reads the disk and compiles
    return {"start_ms": median(took), "resident_mb": median(x or np.nan for x in resident)}


def plain() -> dict[str, str]:
    """Return an environment as on a server: bytecode is kept, and litellm fetches nothing."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def throughput(candidate: Candidate, texts: Path, cores: Sequence[int]) -> dict[str, float]:
    """Return short prompts a second of one process on each core, added up.

    Beside it, how much of its core a process got on average: on a machine that does
    something else, two processes get less of two cores than one gets of one.
    """
    program = BATCH_PROGRAM.format(code=candidate.code)
    size = str(BATCH // 4 if candidate.slow else BATCH)
    commands = [[sys.executable, "-c", program, str(core), str(texts), size] for core in cores]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(one, env=plain(), text=True, **pipes) for one in commands]
    rates, shares = zip(*map(json.loads, run_together(processes)), strict=True)
    return {"per_s": sum(rates), "core_share": sum(shares) / len(shares)}


def run_together(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Start the work of processes at once when all are ready; return what each prints last."""
    for process in processes:
        while (line := process.stdout.readline()) and line != "ready\n":
            pass
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0].splitlines()[-1] for process in processes]


def batches(candidates: Sequence[Candidate], rows: Rows, cores: Sequence[int]) -> dict[str, Any]:
    """Measure batches on one core and, where there are two, on two."""
    whole = (plain_text(example.text) for example in rows.examples)
    short = [text for text in whole if len(text.encode()) in SHORT_BYTES]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "texts.json")
        path.write_text(json.dumps((short * (1 + BATCH // len(short)))[:BATCH]))
        for candidate in candidates:
            progress(f"batches: {candidate.name}")
            sets = {count: cores[-count:] for count in (1, 2) if count <= len(cores)}
            found[candidate.name] = {
                f"{count} {'core' if count == 1 else 'cores'}": throughput(candidate, path, chosen)
                for count, chosen in sets.items()
            }
    return found
