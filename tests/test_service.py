"""The service over real HTTP; as a process where the process matters."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import schemathesis
from hypothesis import given, settings
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.specs.openapi.checks import positive_data_acceptance
from upstream import serving

from router_ml.catalog import SHIPPED_CATALOG
from router_ml.integrations.decision_log import version_of
from router_ml.policy import SHIPPED_POLICY
from router_ml.service.app import Limits, Service

PROOF = "Prove that the square root of 2 is irrational"
PAYLOAD = {"messages": [{"role": "user", "content": PROOF}]}
TOKEN = "a token"


@pytest.fixture(scope="module")
def service(router):
    return Service(router, limits=Limits(body_bytes=100_000, at_once=4, batch=50))


@pytest.fixture(scope="module")
def client(service):
    with serving(service.app) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


def test_one_decision_is_the_routers(client, router):
    decision = client.post("/v1/route", json=PAYLOAD).json()
    expected = router.route(PAYLOAD)
    assert (decision["route"], decision["model"]) == ("math", expected.model)
    assert decision["fallbacks"] == list(expected.fallbacks)
    assert decision["probabilities"] == pytest.approx(expected.probabilities)
    assert client.post("/v1/route", json=PROOF).json()["route"] == "math"


def test_a_batch_is_decided_in_order(client):
    batch = [PAYLOAD, {"input": "你好吗,请介绍一下你自己"}, {"nothing": 1}, None]
    found = client.post("/v1/route", json=batch).json()
    assert [row["route"] for row in found] == ["math", "chinese", "general", "general"]
    assert [row["reason"] for row in found[2:]] == ["unreadable"] * 2
    assert client.post("/v1/route", json=[]).json() == []


def test_system_one(client):
    criteria = {"math": "m", "general": "g"}
    query = {"state": PROOF, "questions": {"tier": {"type": "choice", "criteria": criteria}}}
    reply = client.post("/v1/systemone", json=query).json()
    assert reply["answers"]["tier"]["choice"] == "math"
    assert reply["answers"]["tier"]["type"] == "choice"
    assert reply["usage"] == {"input_tokens": 11, "output_tokens": 0}


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("route", b"{", 400, "no JSON"),
        ("route", b"\xff", 400, "no JSON"),
        ("route", b"[" * 50_000, 400, "nested too deeply"),
        ("route", b'"' + b"x" * 100_000, 413, "100,000 bytes"),
        ("route", json.dumps(["x"] * 51).encode(), 413, "at most 50"),
        ("systemone", b"{}", 422, "state"),
        ("systemone", b'{"state": "x", "questions": {"t": {"type": "scale"}}}', 422, "scale"),
        (
            "systemone",
            b'{"state": "x", "questions": {"t": {"type": "choice", "criteria": {"y": ""}}}}',
            422,
            "None of the criteria",
        ),
        ("nowhere", b"{}", 404, "Not Found"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(client, path, body, status, why):
    answer = client.post(f"/v1/{path}", content=body)
    assert answer.status_code == status
    assert why in answer.json()["error"]


def test_a_body_of_unknown_length_is_bounded_too(client):
    answer = client.post("/v1/route", content=(b"x" * 1_000 for _ in range(1_000)))
    assert answer.status_code == 413


def test_health_names_the_artifact(client, router):
    answer = client.get("/healthz")
    assert answer.json() == {"status": "ready", "artifact": version_of(router)}


def samples(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}


def test_metrics_count_what_was_decided(client, router):
    before = samples(client)
    client.post("/v1/route", json=[PROOF, PROOF, None])
    client.post("/v1/route", content=b"{")
    after = samples(client)
    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    assert grown["router_ml_decisions_total", "classified", "math"] == 2
    assert grown["router_ml_decisions_total", "unreadable", "general"] == 1
    assert grown["router_ml_abstentions_total",] == 1
    assert grown["router_ml_refusals_total", "400"] == 1
    assert grown["router_ml_confidence_count",] == 3
    assert grown["router_ml_latency_seconds_count",] == 1
    assert after["router_ml_artifact_info", version_of(router)] == 1


def test_only_those_with_the_token_are_answered(router):
    with serving(Service(router, token=TOKEN).app) as url, httpx2.Client(base_url=url) as client:
        for given in ({}, {"Authorization": "Bearer no"}, {"Authorization": TOKEN}):
            for answer in (
                client.post("/v1/route", json=PAYLOAD, headers=given),
                client.get("/metrics", headers=given),
            ):
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/v1/route", json=PAYLOAD, headers=allowed).is_success
        assert client.get("/metrics", headers=allowed).is_success
        assert client.get("/healthz").is_success


@contextmanager
def unfinished(url):
    """A request whose body has begun; yields its socket."""
    where = httpx2.URL(url)
    head = f"POST /v1/route HTTP/1.1\r\nHost: {where.host}\r\nContent-Length: 6\r\n\r\n"
    with socket.create_connection((where.host, where.port)) as opened:
        opened.sendall(head.encode() + b'"he')
        yield opened


def finish(opened):
    opened.sendall(b'y "')
    return opened.recv(1000).decode()


def test_more_requests_than_places_are_told_to_come_again(client):
    url = str(client.base_url)
    with unfinished(url) as one, unfinished(url), unfinished(url), unfinished(url):
        wait_for(lambda: client.post("/v1/route", json="hi").status_code == 503)
        answer = client.post("/v1/route", json="hi")
        assert answer.headers["Retry-After"] == "1"
        assert client.get("/healthz").is_success
        assert "200 OK" in finish(one)
        wait_for(lambda: client.post("/v1/route", json="hi").is_success)
    wait_for(lambda: client.post("/v1/route", json="hi").is_success)


def wait_for(what, within_s=30):
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_answers_as_its_openapi_says(service):
    """Whatever the document allows, and much that it does not: no 5xx, no undocumented answer."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app)

    for operation in schema.get_all_operations():
        check(operation.ok())


def check(operation):
    # A query that is well formed may still ask for names that no policy knows: 422.
    @settings(max_examples=60, deadline=None)
    @given(operation.as_strategy())
    def answers(case):
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    answers()


@contextmanager
def process(*options, **environment):
    """`router-ml serve` on a free port; yields the process and a client of it."""
    command = [sys.executable, "-m", "router_ml.cli", "serve", "--port", "0", *options]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, env={**os.environ, **environment}, text=True
    )
    try:
        url = running.stderr.readline().split()[-1]
        with httpx2.Client(base_url=url) as client:
            yield running, client
    finally:
        running.kill()
        running.communicate()


def test_a_request_in_progress_is_answered_before_the_process_ends():
    with process() as (running, client), unfinished(client.base_url) as opened:
        assert client.get("/healthz").is_success
        running.send_signal(signal.SIGTERM)
        wait_for(lambda: not listens(client))
        assert "200 OK" in finish(opened)
        assert running.wait(30) in (0, -signal.SIGTERM)


def listens(client):
    with socket.socket() as probe:
        return probe.connect_ex((client.base_url.host, client.base_url.port)) == 0


def test_changed_files_are_taken_up(tmp_path):
    policy = Path(shutil.copy(SHIPPED_POLICY, tmp_path))
    with process("--policy", str(policy)) as (_, client):
        assert client.post("/v1/route", json=PROOF).json()["model"] == "moonshot-k2.5"
        policy.write_text(policy.read_text().replace("moonshot-k2.5", "glm-5"))
        wait_for(lambda: client.post("/v1/route", json=PROOF).json()["model"] == "glm-5")


def test_the_token_may_come_from_the_environment():
    with process(ROUTER_ML_TOKEN=TOKEN) as (_, client):
        assert client.post("/v1/route", json=PROOF).status_code == 401


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--policy", "nowhere.toml"), "nowhere.toml cannot be read"),
        (("--policy", str(SHIPPED_CATALOG)), "unknown field"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1:0"),
    ],
)
def test_what_cannot_be_served_ends_with_a_sentence(options, why):
    command = [sys.executable, "-m", "router_ml.cli", "serve", "--port", "0", *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert why in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("\n") == 1
