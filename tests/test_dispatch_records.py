"""What is written of a request: the decision log, the log record, the span's event."""

import json
import logging
import subprocess
import sys

import pytest
from faces import FIRST, MATHS, SECOND, chat
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router_ml.dispatch import AllAttemptsFailed, DecisionLog
from router_ml.dispatch.decision_log import fingerprint_of, said_by
from router_ml.errors import DispatchError
from router_ml.examples import read_examples
from router_ml.request import read_request

IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
    }
]


@pytest.fixture
def log(tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl")
    yield log
    log.close()


@pytest.fixture
def text_log(tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl", text=True)
    yield log
    log.close()


def rows(tmp_path):
    return [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]


def test_one_line_a_request(make_face, provider, log, tmp_path):
    provider.faults[FIRST] = ["500"]
    chat(make_face(decision_log=log))
    (row,) = rows(tmp_path)
    assert (row["route"], row["model"], row["labels"]) == ("math", SECOND, ["math"])
    assert [(one["model"], one["error"]) for one in row["attempts"]] == [
        (FIRST, "InternalServerError 500"),
        (SECOND, None),
    ]
    assert all(one["ms"] > 0 for one in row["attempts"])
    assert (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]) == (11, 4, 7)
    assert row["cost_usd"] == pytest.approx(7 * 2.5e-6)
    assert row["baseline_cost_usd"] == pytest.approx(7 * 10e-6)
    assert row["error"] is None


def test_a_stream_s_line_is_written_when_it_ends(make_face, provider, log, tmp_path):
    face = make_face(decision_log=log)
    stream = chat(face, stream=True, stream_options={"include_usage": True})
    assert rows(tmp_path) == []
    face.read(stream)
    provider.faults[FIRST] = ["cut"]
    face.read(chat(face, stream=True))
    whole, cut = rows(tmp_path)
    assert (whole["output_tokens"], whole["error"]) == (7, None)
    assert (cut["output_tokens"], cut["error"]) == (None, "APIConnectionError")


def test_failures_are_written_as_well(make_face, provider, log, tmp_path):
    provider.faults[FIRST], provider.faults[SECOND] = ["401", "500", "*"], ["500", "*"]
    face = make_face(decision_log=log, max_retries=0)
    with pytest.raises(Exception, match="401"):
        chat(face)
    provider.faults[FIRST] = ["500"]
    with pytest.raises(AllAttemptsFailed):
        chat(face)
    refused, failed = rows(tmp_path)
    assert (refused["model"], refused["error"]) == (None, "AuthenticationError 401")
    assert (failed["model"], failed["error"]) == (None, "AllAttemptsFailed")


def test_neither_text_nor_key_by_default(make_face, provider, log, tmp_path):
    provider.faults[FIRST] = ["401 message=sk-secret"]
    face = make_face(decision_log=log)
    with pytest.raises(Exception, match="sk-secret"):
        chat(face)
    chat(face)
    written = (tmp_path / "decisions.jsonl").read_text()
    assert "sk-secret" not in written
    assert "irrational" not in written
    first, second = rows(tmp_path)
    assert first["sha256"] == second["sha256"]
    assert first["characters"] == len(MATHS)


def test_with_text_it_is_what_train_and_evaluate_read(make_face, text_log, tmp_path):
    face = make_face(decision_log=text_log)
    chat(face)
    chat(face, messages=[{"role": "system", "content": "Be brief"}, *IMAGE])
    assert "AAAA" not in (tmp_path / "decisions.jsonl").read_text()
    maths, image = read_examples([tmp_path / "decisions.jsonl"])
    assert (maths.request.turns[0].text, maths.labels) == (MATHS, ("math",))
    assert image.request.has_image
    assert [turn.role for turn in image.request.turns] == ["system", "user"]
    assert "vision" in image.labels


def test_a_text_that_utf_8_cannot_say():
    said = said_by(read_request("a\ud800b"))
    assert said == {"messages": [{"role": "user", "content": "a?b"}]}
    assert fingerprint_of(read_request("a\ud800b").turns)["characters"] == 3


def test_the_command_line_reads_it(make_face, text_log, tmp_path):
    face = make_face(decision_log=text_log)
    chat(face)
    command = [sys.executable, "-m", "router_ml.cli", "evaluate", tmp_path / "decisions.jsonl"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_files_are_rotated(make_face, tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl", max_bytes=1500, backups=2)
    face = make_face(decision_log=log)
    for _ in range(9):
        chat(face)
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(DispatchError, match="No such file or directory"):
        DecisionLog(tmp_path / "nowhere" / "decisions.jsonl")


def test_the_log_record(face, caplog):
    with caplog.at_level(logging.INFO, "router_ml.dispatch"):
        chat(face)
    (record,) = [one for one in caplog.records if one.name == "router_ml.dispatch"]
    assert record.getMessage().startswith(f"math -> {FIRST}: attempts 1, ")
    assert record.routing["model"] == FIRST


def test_the_span_s_event(face):
    exporter = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    with trace.use_span(tracing.get_tracer("test").start_span("mine"), end_on_exit=True):
        chat(face)
    (span,) = exporter.get_finished_spans()
    (event,) = span.events
    assert event.name == "router_ml.decision"
    assert event.attributes["router_ml.route"] == "math"
    assert event.attributes["gen_ai.response.model"] == FIRST
    assert event.attributes["gen_ai.usage.output_tokens"] == 7
    assert event.attributes["router_ml.attempts"] == 1
