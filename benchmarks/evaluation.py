"""How long does `router-ml evaluate` take on many rows, and how much memory?

    python benchmarks/evaluation.py --rows 1000000 training/prompts/*.jsonl

Repeats the labelled rows of the files until there are enough, each with a number before it so
that no two are equal, and evaluates them as the command line does, against the keyword rules.
Prints wall time, the processors' time, and the most memory that was resident in one process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path


def rows(files: Sequence[Path], count: int) -> Iterator[str]:
    """Yield numbered copies of the files' rows."""
    lines = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
    usable = [line for line in lines if "prompt" in line]
    for number, line in enumerate(islice(cycle(usable), count)):
        yield json.dumps(line | {"prompt": f"{number} {line['prompt']}"}, ensure_ascii=False)


def main() -> None:
    """Write the rows, evaluate them in a process of its own, and print what it took."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("files", type=Path, nargs="+", metavar="FILE")
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--engine", choices=("local", "ray"), help="instead of one process")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "rows.jsonl")
        with log.open("w", encoding="utf-8") as file:
            file.writelines(f"{row}\n" for row in rows(options.files, options.rows))
        outputs = ["--report", f"{folder}/report.html", "--json", f"{folder}/report.json"]
        command = [sys.executable, "-m", "router_ml.cli", "evaluate", str(log), *outputs]
        command += ["--engine", options.engine] if options.engine else []
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{options.rows:,} rows: {wall:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor "
        f"time, {used.ru_maxrss / 1024:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
