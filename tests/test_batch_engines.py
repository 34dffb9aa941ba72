import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from router_ml.batch import Fragment, LocalEngine, engines
from router_ml.batch.engines import LOSSES
from router_ml.errors import BatchError, DataError

FRAGMENTS = [Fragment("", f"part {n}", "lines", 0, 1, 1, "") for n in range(12)]


class Dying:
    """Answers, but for fragments that kill its process so many times first."""

    def __init__(self, directory: Path, deaths: dict[str, int]) -> None:
        self.directory, self.deaths = directory, deaths

    def __call__(self, fragment):
        with (self.directory / fragment.path).open("a") as begun:
            begun.write("x")
        if (self.directory / fragment.path).stat().st_size <= self.deaths.get(fragment.path, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return fragment.path, os.getpid()


class Refusing:
    def __call__(self, fragment):
        if fragment.path == "part 3":
            raise DataError("log.jsonl", 7, "is odd.")
        time.sleep(0.01)
        return fragment.path


def refuse_to_start():
    raise BatchError("No worker.")


def test_every_process_makes_one_worker_and_no_fragment_is_done_twice(tmp_path):
    found = list(LocalEngine(2).map(partial(Dying, tmp_path, {}), FRAGMENTS))
    assert sorted(path for path, _ in found) == sorted(f.path for f in FRAGMENTS)
    assert os.getpid() not in {process for _, process in found}


def test_one_worker_works_in_this_process(tmp_path):
    found = list(LocalEngine(1).map(partial(Dying, tmp_path, {}), FRAGMENTS))
    assert found == [(fragment.path, os.getpid()) for fragment in FRAGMENTS]


def test_there_is_a_worker_for_every_core(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert LocalEngine().workers == os.cpu_count()


def test_what_a_dead_process_had_begun_is_begun_again(tmp_path):
    deaths = {"part 1": 1, "part 5": LOSSES, "part 11": 2}
    found = list(LocalEngine(2).map(partial(Dying, tmp_path, deaths), FRAGMENTS))
    assert sorted(path for path, _ in found) == sorted(f.path for f in FRAGMENTS)
    assert (tmp_path / "part 5").stat().st_size == LOSSES + 1


def test_a_fragment_that_kills_every_process_ends_the_run(tmp_path):
    with pytest.raises(BatchError, match=f"part 5: its worker died {LOSSES + 1} times"):
        list(LocalEngine(2).map(partial(Dying, tmp_path, {"part 5": 99}), FRAGMENTS))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_as_the_worker_raised_it(workers):
    with pytest.raises(DataError, match=r"log\.jsonl:7: is odd\."):
        list(LocalEngine(workers).map(Refusing, FRAGMENTS))
    with pytest.raises(BatchError, match="No worker"):
        list(LocalEngine(workers).map(refuse_to_start, FRAGMENTS))


def test_processes_end_when_nobody_asks_for_more(tmp_path):
    results = LocalEngine(2).map(partial(Dying, tmp_path, {}), FRAGMENTS)
    _, process = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


ORPHANS = """
import os, sys, time
from router_ml.batch import Fragment, LocalEngine

class Sleeping:
    def __call__(self, fragment):
        print(os.getpid(), flush=True)
        time.sleep(60)

if __name__ == "__main__":
    list(LocalEngine(2).map(Sleeping, [Fragment("", f"{n}", "lines", 0, 1, 1, "") for n in (1, 2)]))
"""


def test_processes_end_with_whoever_started_them(tmp_path):
    (tmp_path / "run.py").write_text(ORPHANS)
    command = [sys.executable, str(tmp_path / "run.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        for _ in range(2):
            run.stdout.readline()
        run.kill()
        begun = time.monotonic()
        assert run.stdout.read() == b""  # the end: nobody has it open any more
    assert time.monotonic() - begun < 30


def test_ray_begins_again_and_says_what_was_raised(cluster, tmp_path, monkeypatch):
    deaths = {"part 1": 1, "part 5": 1}
    found = list(cluster.map(partial(Dying, tmp_path, deaths), FRAGMENTS))
    assert sorted(path for path, _ in found) == sorted(f.path for f in FRAGMENTS)
    assert len({process for _, process in found}) >= 2
    with pytest.raises(DataError, match=r"log\.jsonl:7: is odd\."):
        list(cluster.map(Refusing, FRAGMENTS))
    monkeypatch.setattr(engines, "LOSSES", 1)
    with pytest.raises(BatchError, match="part 3: its worker died 2 times"):
        list(cluster.map(partial(Dying, tmp_path, {"part 3": 99}), FRAGMENTS[2:5]))
