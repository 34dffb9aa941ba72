"""Evaluation, drift and samples on an engine: the same as in one process, however a log is cut."""

import gzip
import json
import math
import random
from functools import reduce
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from router_ml import batch
from router_ml.batch import LocalEngine, Plan, draw, evaluate, fragments, measure_drift
from router_ml.batch.sampling import Sample
from router_ml.cli import app
from router_ml.errors import DataError, EvaluationError
from router_ml.evaluation import drift, find_system, make_report
from router_ml.evaluation.facts import encode_report
from router_ml.evaluation.judging import Judge
from router_ml.examples import read_examples
from router_ml.labelling.log import read_log
from router_ml.logs import Skipped

run = CliRunner().invoke
PROMPTS = Path(__file__).parent.parent / "training/prompts"
TEST = sorted((PROMPTS / "test").glob("*.jsonl"))
FEW = [PROMPTS / "test/turns-mixed.jsonl", PROMPTS / "test/machines-and-transport.jsonl"]
EVERYDAY, CHINESE = PROMPTS / "everyday-general.jsonl", PROMPTS / "zh-chat-life.jsonl"
MATHS = PROMPTS / "math-formal.jsonl"
ALONE = LocalEngine(1)


class Shuffled(LocalEngine):
    """Works here, on fragments in any order."""

    def __init__(self, seed):
        super().__init__(1)
        self._draw = random.Random(seed)

    def map(self, make, fragments):
        return super().map(make, self._draw.sample(fragments, len(fragments)))


@pytest.fixture
def small_fragments(monkeypatch):
    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 20_000)


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def figures(report):
    """Return a report without what an engine says otherwise: places, doubts, and the notes."""
    facts = json.loads(report if isinstance(report, str) else encode_report(report))
    for quote in (*facts["mistakes"], *(q for v in facts["versus"] for q in v["quotes"])):
        del quote["where"]
    return {key: value for key, value in facts.items() if key not in {"suspects", "notes"}}


def assert_equal(one, other, place=""):
    """Check that all figures are equal to 1e-12, and all else is equal."""
    if isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12), place
        return
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key, value in one.items():
            assert_equal(value, other[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for at, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{place}[{at}]")
    else:
        assert one == other, place


@pytest.fixture(scope="module")
def ordinary(router):
    return make_report(TEST, router, [find_system("keywords", router)], by=["license", "id"])


def test_an_evaluation_on_an_engine_has_the_ordinary_figures(router, ordinary, small_fragments):
    assert len(batch.cut(*TEST)) > 2 * len(TEST)
    found = evaluate(TEST, router, ["keywords"], engine=Shuffled(1), by=["license", "id"])
    assert_equal(figures(found), figures(ordinary))
    assert found.about.rows == len(read_examples(TEST))
    assert found.suspects is None
    assert any("were not looked for" in note for note in found.notes)
    assert found.mistakes[0].where.endswith(tuple("0123456789"))
    assert ", byte " in found.mistakes[0].where


def test_other_kinds_of_files_have_the_same_figures(router, tmp_path):
    rows = [json.loads(line) for line in FEW[1].read_text().splitlines()]
    packed, table = tmp_path / "rows.jsonl.gz", tmp_path / "rows.parquet"
    packed.write_bytes(gzip.compress(FEW[1].read_bytes()))
    keys = {key: None for row in rows for key in row}
    columns = {key: [row.get(key) for row in rows] for key in keys}
    parquet.write_table(pa.table(columns), table, row_group_size=100)
    expected = figures(make_report([FEW[1]], router))
    for path in (packed, table):
        found = figures(evaluate([path], router, engine=ALONE))
        found["about"]["files"] = expected["about"]["files"]
        assert_equal(found, expected)


def test_predictions_need_ids_on_an_engine(router, tmp_path):
    rows = [{"id": n, "prompt": f"Prove {n}", "labels": ["math"]} for n in range(40)]
    log = written(tmp_path / "log.jsonl", rows)
    told = [{"id": row["id"], "route": "general"} for row in rows]
    by_id = written(tmp_path / "by-id.jsonl", reversed(told))
    found = evaluate([log], router, [str(by_id)], engine=ALONE)
    assert found.systems["by-id.jsonl"].accuracy.value == 0
    by_place = written(tmp_path / "by-place.jsonl", [{"route": "general"}] * 40)
    with pytest.raises(EvaluationError, match="write it with ids"):
        evaluate([log], router, [str(by_place)], engine=ALONE)


def test_broken_rows_are_refused_or_counted(router, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "2+2", "labels": ["math"]}\n{"prompt": 3}\nno json\n')
    with pytest.raises(DataError, match=r"log\.jsonl: at byte 38: "):
        evaluate([log], router, engine=ALONE)
    skipped = Skipped()
    assert evaluate([log], router, engine=ALONE, broken=skipped).about.rows == 1
    assert skipped.count == 2
    log.write_text("no json\n")
    with pytest.raises(EvaluationError, match="no row to evaluate"):
        evaluate([log], router, engine=ALONE, broken=Skipped())


def drifts(*found):
    return [json.loads(drift.msgspec.json.encode(one)) for one in found]


def test_drift_on_an_engine_is_the_ordinary_one(router, small_fragments):
    judge = Judge(router)
    expected = drift.measure_drift(judge, [MATHS], [CHINESE], most=5)
    found = measure_drift([MATHS], router, [CHINESE], most=5, engine=Shuffled(2))
    assert_equal(*drifts(found, expected))
    assert len(found.new) == 5
    trained = drift.measure_label_drift(judge, [MATHS])
    assert_equal(*drifts(measure_drift([MATHS], router, engine=Shuffled(3)), trained))


def test_drift_of_more_rows_than_a_sample(router, small_fragments, monkeypatch):
    monkeypatch.setattr(drift, "_SAMPLE", 150)
    one, other = (
        measure_drift([MATHS], router, [CHINESE], engine=Shuffled(seed)) for seed in (4, 5)
    )
    assert_equal(*drifts(one, other))
    ordinary = drift.measure_drift(Judge(router), [MATHS], [CHINESE])
    assert_equal(*drifts(one.routes, ordinary.routes))
    assert_equal(*drifts(one.confidence, ordinary.confidence))
    assert one.new_share == pytest.approx(ordinary.new_share, abs=0.1)


keys = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60)), max_size=40)


@given(st.lists(keys, min_size=1, max_size=5), st.integers(1, 30), st.randoms())
def test_parts_of_a_sample_add_up(parts, most, draw):
    def sample(part):
        return Sample.of(most, (((s, (0.0, b"%03d" % n)), (f"{s}{n}", {})) for s, n in part))

    whole = sample([key for part in parts for key in part])
    samples = [sample(part) for part in parts]
    draw.shuffle(samples)
    assert reduce(Sample.plus, samples) == whole
    # Until there are enough: the next row of each stratum in turn, the lowest of them first.
    strata = [sorted({n for part in parts for t, n in part if t == s}) for s in "abcd"]
    rounds = zip_longest(*([(n, s) for n in row] for s, row in zip("abcd", strata, strict=True)))
    turns = [pair for turn in rounds for pair in sorted(filter(None, turn))]
    assert [row for row, _ in whole.rows.values()] == [f"{s}{n}" for n, s in turns[:most]]


def drawn(router, plan, seed=0, sources=FEW):
    return draw(sources, router, plan, engine=Shuffled(seed))


@pytest.mark.parametrize(
    "plan",
    [Plan(50), Plan(50, "route"), Plan(37, "label", uncertain=True), Plan(400, "source", True)],
)
def test_a_sample_is_the_same_however_a_log_is_cut(router, plan, monkeypatch):
    whole = drawn(router, plan)
    for size in (5_000, 30_000):
        monkeypatch.setattr(fragments, "FRAGMENT_BYTES", size)
        assert drawn(router, plan, seed=size, sources=FEW[::-1]) == whole


def test_a_sample_is_drawn_by_its_seed(router):
    one, other = (drawn(router, Plan(50, seed=seed)) for seed in (0, 1))
    assert len(one.rows) == len(other.rows) == 50
    assert {row["prompt"] for row in one.rows if "prompt" in row} != {
        row["prompt"] for row in other.rows if "prompt" in row
    }


def test_strata_count_the_same_and_small_ones_are_taken_whole(router, tmp_path):
    rows = [{"prompt": f"A name for cat {n}?", "tenant": "big"} for n in range(90)]
    rows += [{"prompt": f"A name for dog {n}?", "tenant": "mid"} for n in range(20)]
    rows += [{"prompt": "A name for a cow?", "tenant": "small"}] * 3
    log = written(tmp_path / "log.jsonl", rows)
    found = drawn(router, Plan(31, "tenant"), sources=[log])
    assert found.strata == {"big": 15, "mid": 15, "small": 1}
    assert (found.usable, found.passed_over) == (113, 0)
    with pytest.raises(DataError, match="no row with the field 'nothing'"):
        drawn(router, Plan(31, "nothing"), sources=[log])


def test_the_least_sure_come_first(router):
    every, unsure = (drawn(router, Plan(rows, uncertain=True)) for rows in (10_000, 40))
    assert unsure.rows == every.rows[:40]
    margins = [
        min(abs(2 * p - 1) for p in router.route(said(row)).probabilities.values())
        for row in every.rows
    ]
    assert margins == sorted(margins, key=lambda margin: round(margin, 4))
    assert margins[0] < 0.1 < margins[-1]


def said(row):
    return row.get("prompt") or row["messages"]


def test_rows_are_drawn_evenly(router, tmp_path):
    rows = [{"prompt": f"A name for cat {n}?", "half": n % 2} for n in range(400)]
    log = written(tmp_path / "log.jsonl", rows)
    found = drawn(router, Plan(200), sources=[log])
    assert 75 <= sum(row["half"] for row in found.rows) <= 125


def test_the_commands(tmp_path, small_fragments):
    log, sample, facts = (tmp_path / name for name in ("log.jsonl", "sample.jsonl", "r.json"))
    log.write_text(FEW[1].read_text())
    plain = run(app, ["evaluate", str(log), "--json"])
    done = run(app, ["evaluate", str(log), "--workers", "1", "--json", str(facts)])
    assert done.exit_code == 0, done.stderr
    assert_equal(figures(facts.read_text()), figures(plain.stdout))
    command = ["drift", str(log), "--against", str(EVERYDAY), "--json"]
    one, other = (run(app, [*command, *more]) for more in ([], ["--workers", "1"]))
    assert_equal(json.loads(one.stdout), json.loads(other.stdout))
    command = ["sample", str(log), "-o", str(sample), "--rows", "30", "--by", "route"]
    shown = run(app, [*command, "--workers", "1"])
    assert shown.exit_code == 0, shown.stderr
    assert "By route: " in shown.stdout
    found = read_log([sample], 100)
    assert len(found.rows) == 30
    assert {"suggested_labels", "route", "confidence"} < found.rows[0].data.keys()
    refused = run(app, ["evaluate", str(log), "--engine", "spark"])
    assert refused.exit_code == 1
    assert refused.stderr == "error: There is no engine 'spark': there are local and ray.\n"


def test_processes_and_ray_agree_with_one_process(router, ordinary, cluster, small_fragments):
    plan = Plan(60, "label", uncertain=True)
    alone = draw(FEW, router, plan, engine=ALONE)
    drift_alone = measure_drift(FEW, router, [EVERYDAY], engine=ALONE)
    for engine in (cluster, LocalEngine(2)):
        report = evaluate(TEST, router, ["keywords"], engine=engine, by=["license", "id"])
        assert_equal(figures(report), figures(ordinary))
        assert draw(FEW, router, plan, engine=engine) == alone
        assert_equal(*drifts(measure_drift(FEW, router, [EVERYDAY], engine=engine), drift_alone))
