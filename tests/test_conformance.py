"""The table of chat shapes, by every door that needs no gateway; LiteLLM's: test_litellm.py."""

import asyncio
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner
from upstream import serving

from router_ml.cli import app
from router_ml.conformance import Answer, failures, read_cases
from router_ml.integrations.litellm import TierClassifier
from router_ml.service.app import Service

run = CliRunner().invoke
CASES = read_cases()


@pytest.fixture(scope="module")
def service(router):
    with serving(Service(router).app) as url:
        yield f"{url}/v1/route"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_router(router, case):
    decision = router.route(case.payload)
    assert (decision.route, decision.reason) == (case.route, case.reason)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_plugin(router, case):
    messages = case.payload.get("messages", case.payload.get("input"))
    context = SimpleNamespace(structured_messages=messages, metadata={})
    tier = asyncio.run(TierClassifier(router).classify(context))
    assert tier == (None if case.reason in ("empty", "unreadable") else case.route)


def test_the_service(service):
    result = run(app, ["conformance", service])
    assert result.stdout == f"{len(CASES)} of {len(CASES)} cases are as expected.\n"
    assert result.exit_code == 0


def test_the_command_decides_by_itself():
    assert run(app, ["conformance"]).exit_code == 0


def test_a_router_that_says_one_thing_of_everything_fails():
    failed = [case.id for case, _ in failures(lambda payload: Answer("general"))]
    assert {case.id for case in CASES if case.route != "general"} == set(failed)
    failed = [case.id for case, _ in failures(lambda payload: Answer("general", "classified"))]
    assert "content is None, chat" in failed


def test_what_is_no_service_ends_with_a_sentence(service):
    for url in (service.replace("/route", "/nowhere"), "http://127.0.0.1:9/", "nonsense"):
        result = run(app, ["conformance", url])
        assert result.exit_code == 1
        assert url in result.stderr
        assert "Traceback" not in result.stderr


def test_the_cases_are_told_apart():
    assert len({case.id for case in CASES}) == len(CASES)
    assert {case.route for case in CASES} == {"general", "chinese", "math", "vision", "audio"}
    assert {case.api for case in CASES} == {"chat", "messages", "responses"}
