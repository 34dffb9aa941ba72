"""Answers on disk, what is learned from them, what is asked next, and the terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from router_ml.cli import app
from router_ml.errors import DataError, LabellingError
from router_ml.examples import read_examples
from router_ml.labelling.answers import AnswersFile
from router_ml.labelling.learner import _RIDGE, cluster, embed, holding, learn, margins
from router_ml.labelling.log import read_log
from router_ml.labelling.order import choose
from router_ml.labelling.questions import make_questions
from router_ml.labelling.session import Session

run = CliRunner().invoke
WORDS = {
    "billing": "invoice refund payment charged twice credit card",
    "legal": "contract clause liability court lawyer terms",
    "code": "python function traceback compile import error",
}


def said(label, n):
    """Make a request that says its label, and differs from all others in letters."""
    words = WORDS[label].split()
    noise = "".join(chr(97 + (n * k + k * k) % 26) for k in range(3, 23))
    return f"{words[n % 6]} {words[(n + 2) % 6]} {noise}"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"prompt": said(label, n), "id": f"{label}-{n}"} for n in range(12) for label in WORDS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def questions(log):
    return make_questions(read_log([log], 1000).rows)


def session(questions, file, **options):
    options = {"single": True, "annotator": "ann", **options}
    return Session(questions, file, list(WORDS), **options)


def truth(question):
    text = question.turns[-1][1]
    return next(label for label, words in WORDS.items() if text.split()[0] in words.split())


def answer(one, times=1):
    keys = []
    for _ in range(times):
        question = one.state().question
        keys.append(question.key)
        one.answer(question.key, [truth(question)])
    return keys


def test_answers_are_labelled_rows_on_disk_at_once(questions, tmp_path):
    path = tmp_path / "a.jsonl"
    with AnswersFile(path) as file:
        one = session(questions, file)
        for count in range(1, 4):
            answer(one)
            examples = read_examples([path])
            assert len(examples) == count
    assert {example.labels for example in examples} <= {(label,) for label in WORDS}
    assert all(example.single and example.id.startswith(example.labels[0]) for example in examples)


def test_a_session_goes_on_where_it_stopped(questions, tmp_path):
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    with AnswersFile(whole) as file:
        expected = answer(session(questions, file), 10)
    found = []
    for count in (4, 0, 6):
        with AnswersFile(parts) as file:
            found += answer(session(questions, file), count)
    assert found == expected


def test_an_answer_that_was_cut_short_is_taken_off(tmp_path):
    path = tmp_path / "a.jsonl"
    with AnswersFile(path) as file:
        file.append([{"prompt": "one"}], ["x"], single=True, annotator="ann")
        whole = path.read_bytes()
        file.append([{"prompt": "two"}, {"prompt": "2"}], ["y"], single=True, annotator="ann")
    data = path.read_bytes()
    for end in range(len(whole), len(data) - 1):
        path.write_bytes(data[:end])
        with AnswersFile(path) as file:
            assert [a.labels for a in file.answers] == [("x",)]
        assert path.read_bytes() == whole
    for end in range(1, len(whole) - 1):  # the very first one
        path.write_bytes(whole[:end])
        with AnswersFile(path) as file:
            assert not file.answers
    path.write_bytes(data[:-1])  # all but the end of the line: nothing is missing
    with AnswersFile(path) as file:
        assert len(file.answers) == 2
    assert path.read_bytes() == data


def test_a_file_that_is_no_answers_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.jsonl"
    for content in (
        '{"prompt": "no label"}',
        "text of my own",
        '{"prompt": "x", "label": "y"}\n{"pr',
    ):
        path.write_text(content)
        with pytest.raises(DataError):
            AnswersFile(path)
        assert path.read_text() == content


def test_labelled_rows_of_other_origin_are_kept_and_not_undone(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "x", "label": "y"}')
    with AnswersFile(path) as file:
        assert file.undo() is None
        file.append([{"prompt": "two"}], ["z"], single=True, annotator="ann")
        assert file.undo().labels == ("z",)
    assert path.read_text() == '{"prompt": "x", "label": "y"}\n'


def test_a_second_session_on_one_file_is_refused(tmp_path, log):
    path = tmp_path / "a.jsonl"
    with AnswersFile(path):
        result = run(app, ["label", str(log), "-o", str(path), "--terminal"], input="q\n")
        assert result.exit_code == 1
        assert "another session is writing to it" in result.stderr.replace("\n", " ")
    AnswersFile(path).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit is set in a child")
def test_an_answer_that_does_not_fit_the_disk_is_not_half_written(tmp_path):
    path = tmp_path / "a.jsonl"
    code = f"""
import resource, signal
from pathlib import Path
from router_ml.labelling.answers import AnswersFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with AnswersFile(Path({str(path)!r})) as file:
    file.append([{{"prompt": "one"}}], ["x"], single=True, annotator="ann")
    size = Path({str(path)!r}).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
    try:
        file.append([{{"prompt": "two"}}], ["y"], single=True, annotator="ann")
    except OSError:
        print(len(file.answers), Path({str(path)!r}).stat().st_size == size)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1", "True"]


def test_one_answer_covers_near_duplicates(tmp_path):
    log, path = tmp_path / "log.jsonl", tmp_path / "a.jsonl"
    texts = ["Where is my refund for order 17?", "where is my refund, for order 18", "Hi"]
    log.write_text("\n".join(json.dumps({"prompt": text}) for text in texts))
    found = make_questions(read_log([log], 10).rows)
    assert [len(question.rows) for question in found] == [2, 1]
    with AnswersFile(path) as file:
        one = session(found, file, single=False)
        while (question := one.state().question).rows == 1:
            one.skip(question.key)
        assert question.alike == texts[1:2]
        one.answer(question.key, ["billing"])
        assert one.state().rows_labelled == 2
        assert [e.labels for e in read_examples([path])] == [("billing",)] * 2
        one.undo()
        assert path.read_bytes() == b""
        assert one.state().question.key == question.key


def test_skipped_questions_come_last(questions, tmp_path):
    with AnswersFile(tmp_path / "a.jsonl") as file:
        one = session(questions, file)
        skipped = one.state().question.key
        one.skip(skipped)
        assert skipped not in answer(one, len(questions) - 1)
        assert one.state().question.key == skipped
        one.skip(skipped)  # no other is left
        assert answer(one) == [skipped]
        assert one.state().question is None
        one.undo()
        assert one.state().question.key == skipped


def test_answers_that_cannot_be_taken(questions, tmp_path):
    with AnswersFile(tmp_path / "a.jsonl") as file:
        one = session(questions, file)
        key = one.state().question.key
        for labels in ([], ["billing", "legal"], [""], ["a\nb"], ["x" * 101], ["\x1b[31m"]):
            with pytest.raises(LabellingError):
                one.answer(key, labels)
        with pytest.raises(LabellingError, match="not the present one"):
            one.answer("other", ["billing"])
        with pytest.raises(LabellingError, match="no answer"):
            one.undo()
        assert not file.answers
        one.answer(key, [" BILLING "])  # case and space make no new label
        assert file.answers[0].labels == ("billing",)
        with pytest.raises(DataError, match="one label a row"):
            session(questions, file, single=False)


def test_it_learns_and_says_how_well(questions, tmp_path):
    with AnswersFile(tmp_path / "a.jsonl") as file:
        one = session(questions, file)
        answer(one, 25)
        state = one.state()
        assert state.learned.rows >= 5  # one in five is drawn, and others were chosen before
        assert state.learned.value >= 0.6
        assert state.question.by == "your answers"
        rights = 0
        for _ in range(10):
            question = one.state().question
            rights += question.proposed == (truth(question),)
            one.answer(question.key, [truth(question)])
        assert rights >= 8


def test_what_is_drawn_is_the_same_for_everyone(questions, tmp_path):
    drawn = []
    for name, wrong in (("a", False), ("b", True)):
        with AnswersFile(tmp_path / f"{name}.jsonl") as file:
            one = session(questions, file, annotator=name)
            for _ in range(15):
                question = one.state().question
                one.answer(question.key, ["legal" if wrong else truth(question)])
            drawn.append([a.keys for a in file.answers if a.drawn])
    assert len(drawn[0]) == 3
    together = set(drawn[0]) & set(drawn[1])
    assert len(together) >= 2  # but for those that one of them was asked anyway


def test_held_out_scores_are_those_of_leaving_each_answer_out():
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(30, 8))
    answered = list(range(12))
    targets = (draw.random((12, 3)) > 0.5).astype(float)
    found = learn(embeddings, answered, targets)
    oracle = Ridge(alpha=_RIDGE).fit(embeddings[:12], targets)
    assert found.scores == pytest.approx(oracle.predict(embeddings))
    for left in answered:
        rest = [at for at in answered if at != left]
        model = Ridge(alpha=_RIDGE).fit(embeddings[rest], targets[rest])
        assert found.held_out[left] == pytest.approx(model.predict(embeddings[[left]])[0])


def test_margins_and_labels_by_hand():
    scores = np.array([[0.9, 0.2, 0.1], [0.5, 0.5, 0.0], [0.1, 0.0, 0.6]])
    assert margins(scores, single=True) == pytest.approx([0.7, 0.0, 0.5])
    assert margins(scores, single=False) == pytest.approx([0.6, 0.0, 0.2])
    assert holding(scores, "abc", single=True) == [("a",), ("a",), ("c",)]
    assert holding(scores, "abc", single=False) == [("a",), ("a", "b"), ("c",)]


def test_what_is_chosen():
    clusters, distance = np.array([0, 0, 0, 1, 1, 2]), np.array([0.3, 0.1, 0.2, 0.2, 0.1, 0.0])
    is_open, sure = np.ones(6, bool), np.ones(6)
    none = np.array([], np.intp)
    assert choose(is_open, clusters, none, sure, distance) == 1  # largest cluster, most typical
    assert choose(is_open, clusters, np.array([1]), sure, distance) == 4  # its turn is over
    unsure = np.array([0.1, 0.2, 0.1, 0.0, 0.1, 0.9])
    assert choose(is_open, clusters, none, unsure, distance) == 5  # new, and unsure
    is_open[5] = False
    assert choose(is_open, clusters, none, unsure, distance) == 1  # the least sure of its cluster


def test_embeddings_of_few_and_equal_texts(questions):
    assert embed([questions[0].text]).shape == (1, 1)
    same = embed([questions[0].text] * 20)
    assert np.isfinite(same).all()
    found, distance = cluster(same)
    assert len(found) == len(distance) == 20


def terminal(log, lines, *options):
    return run(app, ["label", str(log), "--terminal", *options], input="\n".join(lines) + "\n")


def test_terminal(log):
    told = terminal(
        log, ["1", "leg", "+Shipping", "5", "x", "code,legal", "u", "s", ""], "--labels",
        "billing,legal,code",
    )  # fmt: skip
    assert told.exit_code == 0
    rows = [json.loads(line) for line in (log.parent / "log.labels.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows][:2] == ["billing", "legal"]
    assert len(rows) == 3  # the third was taken back, then what was proposed was taken
    assert "'5' names none" in told.stdout
    assert "'x' names none" in told.stdout
    assert "Exactly one label" in told.stdout
    assert "router-ml train" in told.stdout


def test_terminal_with_several_labels_and_none(log):
    terminal(log, ["math, code", "-", "q"])
    rows = [json.loads(line) for line in (log.parent / "log.labels.jsonl").read_text().splitlines()]
    assert [row["labels"] for row in rows] == [["code", "math"], []]
    assert terminal(log, ["q"]).exit_code == 0  # its kind and labels are known from the file
    before = (log.parent / "log.labels.jsonl").read_bytes()
    told = terminal(log, ["1"], "--single")
    assert told.exit_code == 1
    assert "are of several labels a row" in told.stderr.replace("\n", " ")
    assert "choose another file with -o" in told.stderr.replace("\n", " ")
    assert (log.parent / "log.labels.jsonl").read_bytes() == before


def test_a_log_can_say_nothing_to_the_terminal(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"prompt": "[red]x\x1b]0;taken\x07\x1b[2J y", "id": "1"}))
    told = terminal(log, ["+a[/b]", "q"])
    assert "\x1b" not in told.stdout
    assert "[red]x�]0;taken��[2J y" in told.stdout


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the file has no rows"),
        ("{\n{", ":1: no JSON"),
        ('{"prompt": " "}', "no row has words to label"),
        ('{"prompt": 3}', "`prompt` must be a string"),
    ],
)
def test_logs_without_anything_to_label(tmp_path, content, problem):
    log = tmp_path / "log.jsonl"
    log.write_text(content)
    told = terminal(log, ["q"])
    assert told.exit_code == 1
    assert problem in told.stderr.replace("\n", " ")
    assert "Traceback" not in told.output
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_odd_rows_are_counted_and_shown(log):
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    with log.open("a") as file:
        file.write('{"prompt": \n\n' + json.dumps({"messages": image}) + "\n")
    told = terminal(log, ["q"], "--rows", "5")
    assert "log.jsonl:37: no JSON" in told.stderr
    assert "1 row passed over, with parts or without words" in told.stderr
    assert "a sample of 5 of 36 rows" in told.stderr
    assert "0 of 5 rows" in told.stdout


def test_one_row_and_then_none(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "hello"}')
    assert "1 of 1 row" in terminal(log, ["+greeting"]).stdout
    assert "1 of 1 row" in terminal(log, []).stdout


def test_the_log_is_not_taken_for_the_answers(log):
    before = log.read_bytes()
    told = terminal(log, ["q"], "-o", str(log))
    assert told.exit_code == 1
    assert "is read by this command" in told.stderr.replace("\n", " ")
    assert log.read_bytes() == before


def test_directories_globs_and_mapped_rows_are_labelled_as_they_are_read(tmp_path, log):
    logs = tmp_path / "logs"
    logs.mkdir()
    rows = log.read_text().splitlines(keepends=True)
    (logs / "b.jsonl").write_text("".join(rows[:20]))
    (logs / "a.jsonl").write_text("".join(rows[20:]).replace('"prompt"', '"Text"'))
    answers = tmp_path / "ann.jsonl"
    for source in ([logs], [logs / "*.jsonl"], sorted(logs.iterdir())):
        told = terminal(source[0], ["q"], *map(str, source[1:]), "-o", str(answers))
        assert "0 of 36 rows" in told.stdout, told.output
        told = terminal(source[0], ["q"], *map(str, source[1:]))
        assert "say where the answers go with -o" in told.stderr.replace("\n", " ")
    told = terminal(logs, ["q"], "-o", str(logs / "ann.jsonl"))
    assert "is read by this command" in told.stderr.replace("\n", " ")
    assert len([*logs.iterdir()]) == 2
    log.write_text(json.dumps({"body": {"text": "hello"}}))
    assert "--map prompt=PLACE" in terminal(log, ["q"]).stderr.replace("\n", " ")
    terminal(log, ["+greeting"], "--map", "prompt=body.text")
    (found,) = read_examples([tmp_path / "log.labels.jsonl"])
    assert (found.text.turn, found.labels) == (b"hello", ("greeting",))


def test_what_is_scrubbed_is_not_in_the_answers(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"prompt": "write to ann@example.org", "customer": "ann"}))
    terminal(log, ["+mail"], "--scrub", "US")
    written = (tmp_path / "log.labels.jsonl").read_text()
    assert "write to [email]" in written
    assert "ann@" not in written
    assert "customer" not in written
    assert "1 of 1 row" in terminal(log, ["q"], "--scrub", "US").stdout


def test_labels_in_the_log_are_proposed(log):
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("\n".join(json.dumps({**row, "label": "billing"}) for row in rows))
    told = terminal(log, ["", "q"])
    assert "Proposed by log: billing" in told.stdout
    (found,) = read_examples([log.parent / "log.labels.jsonl"])
    assert found.labels == ("billing",)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_terminal_that_is_stopped_loses_nothing(log, ending):
    command = [sys.executable, "-m", "router_ml.cli", "label", str(log), "--terminal"]
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [*command, "--labels", "billing,legal"],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    for said_by in (b"1\n", b"2\n", b""):
        while not shown.rstrip(b" ").endswith(b"\n>"):
            shown += os.read(master, 4096)
        shown = b""
        os.write(master, said_by)
    time.sleep(1)  # a signal between the prompt and the reading after it waits for the next key
    running.send_signal(ending)
    assert running.wait(60) == (0 if ending == signal.SIGINT else -signal.SIGKILL)
    os.close(master)
    answers = log.parent / "log.labels.jsonl"
    assert [example.labels for example in read_examples([answers])] == [("billing",), ("legal",)]
    assert "2 answers" in terminal(log, ["q"]).stdout
