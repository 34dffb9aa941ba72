"""An LLM's labels, from a local provider, through the real openai client."""

import json

import pytest
from typer.testing import CliRunner

from router_ml.cli import app
from router_ml.examples import read_examples
from router_ml.labelling.prelabel import Prelabelling, instructions

run = CliRunner().invoke
KEY = "sk-secret-0123456789"
CATALOG = """
schema_version = 1
baseline = "small"
[models.small]
output_price = 1000.0
input_price = 100.0
[models.unpriced]
output_price = 1.0
"""


@pytest.fixture
def place(tmp_path):
    verbs, words = (
        ("pay", "sue", "bug") * 2,
        ("oranges", "tables", "rivers", "clouds", "maps", "ink"),
    )
    rows = [{"prompt": f"{verb} for {word}"} for verb, word in zip(verbs, words, strict=True)]
    odd = [{"prompt": "say nothing"}, {"prompt": "other label please"}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, [*rows, *odd])))
    (tmp_path / "guide.md").write_text("pay is billing, sue is legal, bug is code.")
    (tmp_path / "catalog.toml").write_text(CATALOG)
    return tmp_path


@pytest.fixture
def labeller(provider, monkeypatch):
    """A provider that follows the guideline."""

    def whole(body):
        text = body["messages"][-1]["content"]
        known = {"pay": "billing", "sue": " LEGAL", "bug": "code", "other": "made up"}
        label = known.get(text.split()[0])
        said = f'Sure:\n```json\n{{"labels": ["{label}"]}}\n```' if label else "I cannot say."
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {
            "id": "1", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [choice], "usage": usage,
        }  # fmt: skip

    monkeypatch.setattr("provider._Handler._whole", lambda self, body: whole(body))
    return provider


def label(place, provider, *options, lines=("q",), cap="5", model="small"):
    told = {"with-llm": model, "base-url": provider.url, "cap-usd": cap}
    told |= {"guideline": place / "guide.md", "labels": "billing,legal,code"}
    told |= {"catalog": place / "catalog.toml", "as": "ann"}
    pairs = [part for name, value in told.items() for part in (f"--{name}", str(value))]
    command = ["label", str(place / "log.jsonl"), "--terminal", *pairs, *options]
    return run(app, command, input="\n".join(lines) + "\n", env={"OPENAI_API_KEY": KEY})


def test_it_asks_shows_the_cost_first_and_a_person_confirms(place, labeller):
    told = label(place, labeller, lines=("y", "", "", "2", "q"))
    assert told.exit_code == 0
    assert "8 requests to small" in told.stderr
    assert "Their texts leave this machine" in told.stderr
    assert told.stdout.count("Proposed by small") >= 3
    found = read_examples([place / "log.llm.jsonl"])
    assert [example.labels[0] for example in found] == ["billing", "legal", "code"] * 2
    confirmed = read_examples([place / "log.labels.jsonl"])
    assert len(confirmed) >= 2
    rows = [json.loads(line) for line in (place / "log.labels.jsonl").read_text().splitlines()]
    assert all(row["drawn"] for row in rows)  # a sample is confirmed before any is chosen
    body = labeller.received[0].body
    assert body["messages"][0]["content"].startswith("pay is billing")
    assert "- legal" in body["messages"][0]["content"]
    for path in place.iterdir():
        assert KEY not in path.read_text()
    both = [str(place / f"log.{kind}.jsonl") for kind in ("labels", "llm")]
    merged = run(app, ["merge", *both, "--trust-first", "-o", str(place / "all.jsonl")])
    assert merged.exit_code == 0
    assert "ann, small" in merged.stdout


def test_nothing_is_sent_without_consent(place, labeller):
    told = label(place, labeller, lines=("n", "q"))
    assert told.exit_code == 0
    assert labeller.received == []
    assert (place / "log.llm.jsonl").read_text() == ""


def test_the_cap_holds_over_several_sessions(place, labeller):
    one = 100e-6 * 100 + 10 * 1000e-6  # what an answer costs; the most it could is far above
    for _ in range(3):
        told = label(place, labeller, "--yes", cap="0.45")
        assert told.exit_code == 0
        assert "The cap of US$0.45 is reached" in told.stderr.replace("\n", " ")
    spent = len(labeller.received) * one
    assert 0 < spent <= 0.45
    before = len(labeller.received)
    label(place, labeller, "--yes", cap="50")
    assert len(labeller.received) == 8  # what was answered is not asked again
    assert before < 8
    told = label(place, labeller, "--yes", cap="50")
    assert "0 requests to small" in told.stderr


def test_another_guideline_is_another_question(place, labeller):
    label(place, labeller, "--yes")
    (place / "guide.md").write_text("Something else.")
    label(place, labeller, "--yes")
    assert len(labeller.received) == 16


@pytest.mark.parametrize(
    ("model", "guide", "problem"),
    [
        ("unpriced", "Money.", "no `input_price`"),
        ("unknown", "Money.", "does not list 'unknown'"),
        ("small", " ", "An LLM needs a guideline"),
        ("small", None, "guide.md cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(place, labeller, model, guide, problem):
    (place / "guide.md").write_text(guide) if guide else (place / "guide.md").unlink()
    told = label(place, labeller, "--yes", model=model)
    assert told.exit_code == 1
    assert problem in told.stderr.replace("\n", " ")
    assert labeller.received == []


def test_a_provider_that_fails_leaves_the_session_usable(place, labeller):
    labeller.faults["small"] = ["400", "*"]
    told = label(place, labeller, "--yes", lines=("1", "q"))
    assert told.exit_code == 0
    assert "answers are missing" in told.stderr.replace("\n", " ")
    assert len(read_examples([place / "log.labels.jsonl"])) == 1


def test_answers_are_read_strictly():
    reader = Prelabelling.__new__(Prelabelling)
    reader._known = {"billing": "billing", "legal": "Legal"}
    reader._single = True
    assert reader.read_answer('x {"labels": ["LEGAL"]} y') == ("Legal",)
    for answer in (
        "",
        "{}",
        '{"labels": []}',
        '{"labels": ["billing", "legal"]}',
        '{"labels": [1]}',
    ):
        assert reader.read_answer(answer) is None
    reader._single = False
    assert reader.read_answer('{"labels": []}') == ()
    assert reader.read_answer('{"labels": ["legal", "billing"]}') == ("Legal", "billing")
    assert reader.read_answer('{"labels": ["legal", "tax"]}') is None


def test_instructions_say_how_many():
    assert "exactly one label" in instructions("g", ["a"], single=True)
    assert "every label that holds" in instructions("g", ["a"], single=False)
