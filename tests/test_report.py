import json

import msgspec
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix
from typer.testing import CliRunner

from router_ml.cli import app
from router_ml.dispatch import DecisionLog
from router_ml.dispatch.decision_log import said_by
from router_ml.errors import DataError, EvaluationError
from router_ml.evaluation.facts import encode_report
from router_ml.evaluation.floors import read_floor
from router_ml.evaluation.markdown import markdown
from router_ml.evaluation.report import make_report
from router_ml.evaluation.systems import find_system
from router_ml.examples import read_examples
from router_ml.request import read_request

run = CliRunner().invoke
ROWS = [
    {"prompt": "Prove that √2 is irrational", "labels": ["math"], "tenant": "a", "lang": "en"},
    {"prompt": "今天吃什么好", "labels": ["chinese"], "tenant": "b", "lang": "zh", "source": "s"},
    {"prompt": "What is in this photo?", "labels": ["vision"], "group": "g", "lang": "en"},
    {"prompt": "A name for my cat?", "labels": ["math"], "group": "g", "tenant": "a"},
    {"prompt": " ", "labels": []},
    {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        ],
        "labels": ["vision"],
    },
]


def written(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return [written(tmp_path_factory.mktemp("rows") / "rows.jsonl")]


@pytest.fixture(scope="module")
def report(files, router):
    return make_report(files, router, [find_system("keywords", router)], by=["tenant"])


def test_figures_are_those_of_the_router(report, files, router):
    examples = read_examples(files)
    given = [one.route for one in router.route_many(example.request for example in examples)]
    true = ["math", "chinese", "vision", "math", "general", "vision"]
    assert report.main.accuracy.value == pytest.approx(accuracy_score(true, given))
    expected = confusion_matrix(true, given, labels=list(report.main.routes))
    assert report.main.confusion == expected.tolist()
    assert report.about.files == {"rows.jsonl": 6}


def test_verdict_comes_first_and_is_of_the_figures(report):
    sentences = " ".join(report.verdict)
    assert "router-ml sends 83.3%" in report.verdict[0]
    assert "of 6 requests the right way" in report.verdict[0]
    assert "less than gpt-4o for everything" in sentences
    assert "sends math to general: 1 of 1 wrong row." in sentences
    assert "keyword rules" in sentences
    assert next(iter(msgspec.to_builtins(report))) == "verdict"


def test_slices_by_every_field(report):
    found = {(one.field, one.value): (one.rows, one.accuracy.value) for one in report.slices}
    assert found["label", "math"] == (2, 0.5)
    assert found["label", "(none)"] == (1, 1)
    assert found["tenant", "a"] == (2, 0.5)
    assert found["tenant", "(none)"] == (3, 1)
    assert found["lang", "zh"] == (1, 1)
    assert found["turns", "several"] == (1, 1)
    assert found["length", "up to 40 bytes"][0] == 6
    assert not any(field == "group" for field, _ in found)
    excess = [one.excess for one in report.slices]
    assert excess == sorted(excess, reverse=True)
    assert {(one.field, one.value): one.excess for one in report.slices}["label", "math"] == (
        pytest.approx(1 - 2 / 6)
    )


def test_rows_are_quoted_verbatim(report):
    (mistake,) = report.mistakes
    assert (mistake.text, mistake.where) == ("A name for my cat?", "rows.jsonl:4")
    assert (mistake.true_route, mistake.given_route) == ("math", "general")
    assert mistake.confidence > 0.5
    changed = [quote.text for quote in report.versus[0].quotes]
    assert "今天吃什么好" in changed
    assert report.suspects.rows >= len(report.suspects.quotes)


def test_a_comparison_counts_the_same_rows(report):
    result = report.versus[0].result
    systems = report.systems
    difference = systems["router-ml"].accuracy.value - systems["keyword rules"].accuracy.value
    assert result.accuracy_difference.value == pytest.approx(difference)
    assert result.only_first - result.only_second == pytest.approx(6 * difference)
    assert result.changed == sum(change.rows for change in result.changes)


def test_a_report_goes_through_json(report):
    facts = json.loads(encode_report(report))
    assert facts["systems"]["router-ml"]["accuracy"]["value"] == report.main.accuracy.value
    assert facts["systems"]["keyword rules"]["calibration_error"] is None


def test_markdown_has_every_section_and_no_markup_of_the_rows(router, tmp_path):
    nasty = "<script>alert(1)</script> | @everyone [x](http://y) `z`\n# title"
    path = written(tmp_path / "rows.jsonl", [{"prompt": nasty, "labels": ["math"]}])
    text = markdown(make_report([path], router))
    for title in ("## Verdict", "## What it costs and saves", "## Most confident mistakes"):
        assert title in text
    assert "<script>" not in text
    assert "@everyone" not in text
    assert "\n# title" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables


def test_a_decision_log_of_ones_own(router, tmp_path):
    photo = [
        {"type": "text", "text": "Hm"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
    ]
    asked = ["Prove that √2 is irrational", [{"role": "user", "content": photo}]]
    log = DecisionLog(tmp_path / "decisions.jsonl", text=True)
    for request in asked:
        labels = list(router.route(request).labels)
        spent = {"input_tokens": 9, "cached_input_tokens": None, "output_tokens": 100}
        log.write({**said_by(read_request(request)), "labels": labels, "attempts": [], **spent})
    log.close()
    found = make_report([tmp_path / "decisions.jsonl"], router)
    assert found.main.accuracy.value == 1
    assert found.money.tokens.mean_output == 100
    assert found.money.spends[0].per_1000.value == pytest.approx(0.1 * (3.00 + 0.52) / 2)


def test_one_row(router, tmp_path):
    path = written(tmp_path / "one.jsonl", ROWS[:1])
    found = make_report([path], router)
    assert (found.main.accuracy.value, found.main.accuracy.low) == (1, 1)
    assert any("up to 100.0% may still do so" in note for note in found.notes)
    assert not found.mistakes


def test_rows_that_no_words_decide(router, tmp_path):
    found = make_report([written(tmp_path / "rows.jsonl", ROWS[4:])], router)
    assert found.main.calibration_error is None
    assert found.suspects is None
    assert {one.average_precision for one in found.main.labels.values()} == {None}


def test_what_reading_refuses(router, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DataError, match="no rows"):
        make_report([empty], router)
    unlabelled = written(tmp_path / "u.jsonl", [ROWS[0], {"prompt": "x"}])
    with pytest.raises(DataError, match=r"u\.jsonl:2: a row needs `labels`"):
        make_report([unlabelled], router)
    unknown = written(tmp_path / "k.jsonl", [ROWS[0], {"prompt": "x", "labels": ["maths"]}])
    with pytest.raises(DataError, match=r"k\.jsonl:2: the label 'maths'"):
        make_report([unknown], router)
    with pytest.raises(DataError, match="reads its rows twice"):
        make_report(["/dev/null"], router)


def test_a_field_that_no_row_has(files, router):
    with pytest.raises(EvaluationError, match="No row has the field 'nothing'"):
        make_report(files, router, by=["nothing"])


def test_the_same_system_twice(files, router):
    twice = [find_system("keywords", router)] * 2
    with pytest.raises(EvaluationError, match="named twice"):
        make_report(files, router, twice)


def test_predictions_of_other_rows(files, router, tmp_path):
    path = written(tmp_path / "predictions.jsonl", [{"route": "general"}] * 7)
    with pytest.raises(DataError, match="has 7 predictions for 6 rows"):
        make_report(files, router, [find_system(str(path), router)])
    path = written(path, [{"route": "general"}] * 6)
    found = make_report(files, router, [find_system(str(path), router)])
    assert found.systems["predictions.jsonl"].accuracy.value == pytest.approx(1 / 6)


def test_floors(report):
    assert read_floor("accuracy=0.5").missed_by(report) == ""
    assert read_floor("recall.math=0.9").missed_by(report) == "recall.math is 0.5000, under 0.9."
    assert read_floor("saving=0.5").missed_by(report) == ""
    with pytest.raises(EvaluationError, match="no figure 'acuracy'"):
        read_floor("acuracy=0.5").missed_by(report)
    for text in ("accuracy", "accuracy=high", ""):
        with pytest.raises(EvaluationError, match="no figure and number"):
            read_floor(text)


def test_the_command_writes_all_that_is_asked_for(files, tmp_path):
    page, text, facts = (tmp_path / name for name in ("r.html", "r.md", "r.json"))
    arguments = ["--report", str(page), "--markdown", str(text), "--json", str(facts)]
    result = run(app, ["evaluate", *map(str, files), *arguments, "--traffic", "classic"])
    assert result.exit_code == 0
    assert "router-ml sends 83.3%" in result.stdout
    assert "router-ml sends 83.3%" in text.read_text()
    assert "router-ml sends 83.3%" in page.read_text()
    assert "0.4025" in page.read_text()
    assert json.loads(facts.read_text())["traffic"]["perfect"] == pytest.approx(0.4025)


def test_nothing_is_half_written(files, tmp_path):
    page = tmp_path / "r.html"
    arguments = ["--report", str(page), "--fail-under", "nothing=1"]
    assert run(app, ["evaluate", *map(str, files), *arguments]).exit_code == 1
    arguments = ["--report", str(page), "--markdown", str(tmp_path / "no" / "r.md")]
    assert run(app, ["evaluate", *map(str, files), *arguments]).exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_json_prints_and_never_overwrites_a_log(files, tmp_path):
    name = str(files[0])
    for arguments in ([name, "--json"], ["--json", name], [name, "--json", "--volume", "10"]):
        result = run(app, ["evaluate", *arguments])
        assert json.loads(result.stdout)["about"]["rows"] == 6
    assert len(files[0].read_text().splitlines()) == 6


def test_the_command_fails_under_a_floor(files):
    result = run(app, ["evaluate", str(files[0]), "--fail-under", "accuracy=0.9"])
    assert result.exit_code == 3
    assert "accuracy is 0.8333, under 0.9" in result.stderr
    result = run(app, ["evaluate", str(files[0]), "--fail-under", "accuracy=0.8"])
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--against", "nothing-of-that-name"],
        ["--traffic", "modern"],
        ["--fail-under", "accuracy"],
        ["--fail-under", "x=1"],
        ["--by", "nothing"],
        ["--report", "/no/such/folder/report.html"],
    ],
)
def test_what_the_command_refuses_gets_one_sentence(files, arguments):
    result = run(app, ["evaluate", str(files[0]), *arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
