"""Against a local provider, through the real openai client."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from router_ml.catalog import Catalog, Model
from router_ml.cli import app
from router_ml.evaluation.outcomes import read_outcomes
from router_ml.replay import Budget, Endpoint, make_scorer, sample_rows
from router_ml.replay.scorers import fill, last_number

run = CliRunner().invoke
KEY = "sk-secret-0123456789"
CATALOG = """
schema_version = 1
baseline = "large"
[models.small]
output_price = 1000.0
input_price = 100.0
[models.large]
output_price = 10000.0
input_price = 1000.0
[models.half-known]
output_price = 1.0
"""


class Provider:
    """A provider that answers every prompt with the text after its last space.

    Attributes:
        url: where.
        asked: (model, prompt) of every request, in the order of arrival.
        faults: prompt -> what happens the next times it is asked: a status, or a word.
        usage: whether responses count tokens; 100 in and 10 out.

    """

    def __init__(self):
        self.asked, self.faults, self.usage, self.busiest = [], {}, True, 0
        self._open, self._lock = 0, threading.Lock()
        self.release = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with provider._lock:
                    provider._open += 1
                    provider.busiest = max(provider.busiest, provider._open)
                try:
                    provider.answer(self, body)
                except OSError:
                    pass  # the client has gone
                finally:
                    with provider._lock:
                        provider._open -= 1

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, handler, body):
        prompt = body["messages"][-1]["content"]
        with self._lock:
            self.asked.append((body["model"], prompt))
            faults = self.faults.get(prompt, [])
            fault = faults.pop(0) if faults else None
        if fault == "hang":
            self.release.wait(20)
        if fault == "pause":
            time.sleep(0.02)
        if isinstance(fault, int):
            said = {"error": {"message": f"no: {handler.headers['authorization']}"}}
            return self.send(handler, fault, said)
        if fault == "garbage":
            return self.send(handler, 200, b"{no json")
        choice = {"index": 0, "finish_reason": "stop"}
        content = prompt.split(" ")[-1] + ("\ud83d" if fault == "surrogate" else "")
        choice["message"] = {"role": "assistant", "content": content}
        told = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        told["choices"] = [] if fault == "empty" else [choice]
        if self.usage:
            told["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return self.send(handler, 200, told)

    def send(self, handler, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.send_header("retry-after", "0")
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture
def provider():
    found = Provider()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    found.release.set()
    found.server.shutdown()
    found.server.server_close()


class Place:
    """A directory with prompts and a catalog, and the command to replay them."""

    def __init__(self, path, url):
        self.path, self.url, self.out = path, url, path / "results.jsonl"
        (path / "catalog.toml").write_text(CATALOG)
        self.prompts(*({"prompt": f"say {n}", "expected": str(n)} for n in range(5)))

    def prompts(self, *rows):
        (self.path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def command(self, cap="5", models="small,large", **options):
        told = {"models": models, "out": self.out, "cap-usd": cap, "base-url": self.url}
        told |= {"catalog": self.path / "catalog.toml", "max-tokens": "16"}
        told |= {name.replace("_", "-"): value for name, value in options.items()}
        pairs = [part for name, value in told.items() for part in (f"--{name}", str(value))]
        return ["replay", str(self.path / "prompts.jsonl"), *pairs]

    def __call__(self, cap="5", **options):
        return run(app, self.command(cap, **options), env={"OPENAI_API_KEY": KEY})

    def rows(self):
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def spent(self):
        return sum(row["spent_usd"] for row in self.rows())


@pytest.fixture
def place(tmp_path, provider):
    return Place(tmp_path, provider.url)


SMALL = (100 * 100 + 10 * 1000) / 1e6
"""What an answer of the small model costs, in US dollars; one of the large costs ten times that."""


def test_every_model_is_asked_every_prompt(place, provider):
    result = place()
    assert result.exit_code == 0, result.stderr
    assert sorted(provider.asked) == sorted(
        (model, f"say {n}") for model in ("small", "large") for n in range(5)
    )
    assert "10 answered now, 0 before; 0 failed." in result.stderr
    assert "US$1.1000" in result.stderr
    found = read_outcomes([place.out])
    assert len(found) == 5
    small = found[0].results["small"]
    assert (small.correct, small.cost_usd, small.input_tokens) == (True, pytest.approx(SMALL), 100)
    assert small.latency_s > 0
    assert place.spent() == pytest.approx(55 * SMALL)


def test_what_is_finished_is_not_sent_again(place, provider):
    assert place(sample=2).exit_code == 0
    before = place.out.read_bytes()
    result = place()
    assert result.exit_code == 0
    assert "6 answered now, 4 before" in result.stderr
    assert len(provider.asked) == len(set(provider.asked)) == 10
    assert place.out.read_bytes().startswith(before)
    assert place().exit_code == 0
    assert len(provider.asked) == 10


def test_a_line_that_was_torn_is_sent_again(place, provider):
    assert place().exit_code == 0
    place.out.write_bytes(place.out.read_bytes()[:-40])
    result = place()
    assert "1 answered now, 9 before" in result.stderr
    assert len(place.rows()) == 10


@pytest.mark.parametrize("fault", [429, 500, 503, 408])
def test_passing_faults_are_tried_again(fault, place, provider):
    provider.faults["say 3"] = [fault] * 2
    assert place(models="small").exit_code == 0
    assert len(provider.asked) == 7
    assert place.spent() == pytest.approx(5 * SMALL)


def test_lasting_faults_are_recorded_and_asked_again_later(place, provider):
    provider.faults["say 3"] = [503] * 6
    provider.faults["say 4"] = [400, 404]
    result = place(concurrency=1)
    assert result.exit_code == 1
    assert "4 answers are missing" in result.stderr
    errors = [row["results"] for row in place.rows() if row["spent_usd"] == 0]
    assert len(errors) == 4
    assert KEY not in place.out.read_text()
    assert place().exit_code == 0
    assert len(read_outcomes([place.out])[0].results) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_it_at_once(status, place, provider):
    for n in range(5):
        provider.faults[f"say {n}"] = [status] * 9
    result = place(concurrency=1)
    assert result.exit_code == 1
    assert "refuses the key" in result.stderr
    assert len(provider.asked) == 1
    assert KEY not in result.stderr + result.stdout + place.out.read_text()
    assert "***" in result.stderr.replace("\n", "")


def test_the_cap_holds(place, provider):
    """A request of the small model may cost 0.071, and costs 0.02: the third fits no more."""
    for cap in (0.1, 0.13):
        result = place(cap, models="small", concurrency=5)
        assert result.exit_code == 1
        assert "the same command with a higher cap goes on" in result.stderr.replace("\n", " ")
        assert place.spent() <= cap
    assert place(1, models="small").exit_code == 0
    assert len(provider.asked) == 5


def test_the_cap_holds_for_dear_models_while_cheap_ones_go_on(place, provider):
    result = place(0.3, concurrency=4)
    assert result.exit_code == 1
    assert {model for model, _ in provider.asked} == {"small"}
    assert len(provider.asked) == 5


def test_a_cap_of_nothing(place, provider):
    assert place(0).exit_code == 1
    assert (provider.asked, place.out.read_text()) == ([], "")


def test_answers_that_do_not_count_their_tokens_cost_the_most(place, provider):
    provider.usage = False
    assert place(5, models="small").exit_code == 0
    assert place.spent() > 5 * SMALL * 3
    assert "cost_usd" not in place.rows()[0]["results"]["small"]


def test_a_gateway_that_gave_up_may_have_been_answered(place, provider):
    provider.faults["say 1"] = [504]
    assert place(models="small").exit_code == 0
    assert len(provider.asked) == 6
    assert place.spent() > 5 * SMALL + 0.05


def test_a_body_that_is_no_json_may_have_been_paid(place, provider):
    provider.faults["say 1"] = ["garbage"]
    result = place(models="small")
    assert "1 answer is missing" in result.stderr
    assert len(provider.asked) == 5
    assert place.spent() > 4 * SMALL + 0.05


def test_a_lone_surrogate_can_be_written(place, provider):
    place.prompts({"prompt": "say x", "expected": "x?"})
    provider.faults["say x"] = ["surrogate"]
    assert place(models="small").exit_code == 0
    assert place.rows()[0]["results"]["small"]["correct"] is True


def test_a_response_without_an_answer_is_paid_for(place, provider):
    provider.faults["say 1"] = ["empty"]
    result = place(models="small")
    assert "1 answer is missing" in result.stderr
    assert place.spent() == pytest.approx(5 * SMALL)
    assert place(models="small").exit_code == 0
    assert place.spent() == pytest.approx(6 * SMALL)


def test_a_provider_that_hangs_may_have_been_paid(place, provider):
    provider.faults["say 1"] = ["hang"]
    provider.release.clear()
    assert place(models="small", timeout_s=0.3).exit_code == 0
    assert len(provider.asked) == 6
    assert place.spent() > 5 * SMALL + 0.05


def test_no_provider_at_all(place, tmp_path, provider):
    place.url = "http://127.0.0.1:9/v1"
    place.prompts({"prompt": "x", "expected": "x"})
    result = place(models="small")
    assert result.exit_code == 1
    assert place.spent() == 0
    assert "APIConnectionError" in place.rows()[0]["results"]["small"]["error"]


def test_no_more_at_once_than_allowed(place, provider):
    place.prompts(*({"prompt": f"say {n}", "expected": str(n)} for n in range(40)))
    provider.faults = {f"say {n}": ["pause"] for n in range(40)}  # long enough to overlap
    assert place(concurrency=3, models="small").exit_code == 0
    assert 1 < provider.busiest <= 3


def test_ctrl_c_leaves_a_file_that_goes_on(place, provider):
    provider.faults["say 3"] = ["hang"]
    command = [sys.executable, "-m", "router_ml.cli", *place.command(models="small")]
    env = {**os.environ, "OPENAI_API_KEY": KEY}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(provider.asked) < 5 or place.out.read_text().count("\n") < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert len(place.rows()) == 5
    assert place.spent() > 4 * SMALL + 0.05  # what was under way may be paid for
    provider.release.set()
    assert place(models="small").exit_code == 0
    assert len(read_outcomes([place.out])) == 5


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"models": "gpt-0"}, "does not list 'gpt-0'"),
        ({"models": "half-known"}, "no `input_price` for 'half-known'"),
        ({"scorer": "vibes"}, "no scorer 'vibes'"),
        ({"scorer": "judge=none.txt", "judge_model": "small"}, "none.txt cannot be read"),
        ({"scorer": "judge=none.txt"}, "--judge-model"),
        ({"scorer": "nowhere:at_all"}, "cannot be imported"),
        ({"scorer": "json:decoder"}, "is no function"),
        ({"scorer": "json_schema"}, "no JSON schema"),
        ({"base_url": "localhost"}, "does not begin with http"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(options, problem, place, provider):
    result = place(**options)
    assert result.exit_code == 1
    assert problem in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
    assert provider.asked == []


def test_a_key_is_needed(place):
    result = run(app, place.command(), env={"OPENAI_API_KEY": ""})
    assert "set OPENAI_API_KEY" in result.stderr


def test_a_file_of_something_else_is_left_alone(place, provider):
    for content in ('{"prompt": "mine"}\n{"prompt": "too"}', "a note without an end"):
        place.out.write_text(content)
        assert place().exit_code == 1
        assert place.out.read_text() == content
    assert provider.asked == []


def test_rows_that_cannot_be_scored(place):
    place.prompts({"prompt": "a", "expected": "1"}, {"prompt": "b"})
    assert "prompts.jsonl:2: the row cannot be scored" in place().stderr.replace("\n", "")
    same = {"id": 1, "prompt": "a", "expected": "1"}
    place.prompts(same, same, {**same, "prompt": "b"})
    assert "the same `id`" in place().stderr


def test_images_are_left_out(place, provider):
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    image = {"messages": [{"role": "user", "content": [part]}], "expected": "x"}
    talk = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "say 1"}]
    place.prompts(image, {"messages": talk, "expected": "1"})
    result = place(models="small")
    assert result.exit_code == 0
    assert "1 row with an image" in result.stderr
    assert provider.asked == [("small", "say 1")]


def test_a_judge_is_paid_from_the_same_cap(place, provider):
    template = place.path / "judge.txt"
    template.write_text("Asked {prompt}, expected {expected}. How good is {answer}? It is 0.5")
    judged = {"scorer": f"judge={template}", "judge_model": "large", "models": "small"}
    assert place(**judged).exit_code == 0
    result = read_outcomes([place.out])[0].results["small"]
    assert (result.score, result.cost_usd) == (0.5, pytest.approx(SMALL))
    assert ("large", "Asked say 0, expected 0. How good is 0? It is 0.5") in provider.asked
    assert place.spent() == pytest.approx(55 * SMALL)
    template.write_text("{answer} of ten")
    place.out.unlink()
    assert "5 answers are missing" in place(**judged).stderr
    assert "no number" in place.rows()[0]["results"]["small"]["error"]


def test_a_scorer_of_ones_own(place, monkeypatch):
    (place.path / "own_scorer.py").write_text(
        "def half(row, answer):\n    return 0.5 if answer != '2' else 1 / 0\n"
    )
    monkeypatch.syspath_prepend(place.path)
    result = place(scorer="own_scorer:half", models="small")
    assert "1 answer is missing" in result.stderr
    scores = [row["results"]["small"] for row in place.rows()]
    assert sum(score.get("score") == 0.5 for score in scores) == 4
    assert sum("ZeroDivisionError" in score.get("error", "") for score in scores) == 1


def score(spec, expected, answer):
    endpoint = Endpoint(None, Catalog(1, {"m": Model(1.0)}, "m"), Budget(0))
    scorer = make_scorer(spec, endpoint)
    row = {"prompt": "x", "expected": expected}
    assert scorer.check(row) == ""
    return asyncio.run(scorer.score(row, answer, None))


@pytest.mark.parametrize(
    ("spec", "expected", "answer", "verdict"),
    [
        ("exact", "Paris", "  paris\n", True),
        ("exact", ["Paris", "Paname"], "paname", True),
        ("exact", "Paris", "It is Paris", False),
        ("exact", 4, "4", True),
        ("regex", r"\bB\b", "The answer is B.", True),
        ("regex", r"^B", "The answer is B.", False),
        ("numeric", 1234.5, "so it is $1,234.50.", True),
        ("numeric", "about 3", "1, 2, -3", False),
        ("numeric", -3, "x = -3", True),
        ("numeric", 3, "no idea", False),
        ("numeric", 6.02e23, "6.02e23", True),
        ("json_schema", {"required": ["a"]}, '{"a": 1}', True),
        ("json_schema", {"required": ["a"]}, '```json\n{"a": 1}\n```', True),
        ("json_schema", {"required": ["a"]}, '{"b": 1}', False),
        ("json_schema", {"required": ["a"]}, "a: 1", False),
    ],
)
def test_scorers(spec, expected, answer, verdict):
    assert score(spec, expected, answer) is verdict


@pytest.mark.parametrize(
    ("spec", "row", "lack"),
    [
        ("exact", {}, "no `expected`"),
        ("regex", {"expected": "("}, "no regular expression"),
        ("regex", {"expected": 1}, "no regular expression"),
        ("numeric", {"expected": "none"}, "no number"),
        ("json_schema", {"expected": {"type": "thing"}}, "no JSON schema"),
    ],
)
def test_what_rows_lack(spec, row, lack):
    endpoint = Endpoint(None, Catalog(1, {"m": Model(1.0)}, "m"), Budget(0))
    assert lack in make_scorer(spec, endpoint).check(row)


def test_a_template_is_filled_once():
    assert fill("{prompt} {answer} {x}", {"prompt": "{answer}", "answer": "b"}) == "{answer} b {x}"


def test_last_numbers():
    assert [last_number(t) for t in ("1,000", "x.5", "-2e3", "none", "3.")] == [
        1000,
        0.5,
        -2000,
        None,
        3,
    ]


def test_a_sample_is_drawn_evenly(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": str(n)}) for n in range(20)))
    drawn = [[row.number for row in sample_rows(path, 5, seed)[0]] for seed in range(400)]
    assert all(rows == sorted(set(rows)) and len(rows) == 5 for rows in drawn)
    counts = [sum(number in rows for rows in drawn) for number in range(1, 21)]
    assert 60 < min(counts) <= max(counts) < 140


def test_a_budget_waits_for_what_is_open_and_refuses_what_never_fits():
    async def go():
        budget = Budget(1.0, spent=0.5)
        assert not await budget.reserve(0.6)
        assert await budget.reserve(0.4)
        waiting = asyncio.create_task(budget.reserve(0.3))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.settle(0.4, 0.1)
        assert await waiting
        budget.settle(0.3, 0.3)
        assert budget.spent == pytest.approx(0.9)
        assert not await budget.reserve(0.2)

    asyncio.run(go())
