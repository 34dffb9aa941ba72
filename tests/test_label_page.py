"""The page that people label on: its server, and itself in headless Chromium."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from conftest import CONTRASTS

from router_ml.examples import read_examples
from router_ml.labelling.answers import AnswersFile
from router_ml.labelling.log import read_log
from router_ml.labelling.questions import make_questions
from router_ml.labelling.server import LabelServer
from router_ml.labelling.session import Session

NASTY = '</script><script>document.title="taken"</script><img src="http://x.test/y"> {{nonce}}'
GUIDE = f"billing: money. {NASTY} {{{{script}}}}"
ROWS = [
    "Where is my refund?",
    "where is my refund!!",
    NASTY,
    "Is this clause binding?",
    "Fix my loop, please",
    "A long one\n" + "x" * 30_000,
    "ما هي الفاتورة",
]


@contextmanager
def served(tmp_path, labels=("billing", "legal", "code"), *, single=True, name="a.jsonl"):
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps({"prompt": text}) for text in ROWS))
    questions = make_questions(read_log([log], 100).rows)
    with AnswersFile(tmp_path / name) as file:
        session = Session(questions, file, labels, single=single, annotator="ann")
        with LabelServer(session, guideline=GUIDE) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            yield server
            server.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path):
    with served(tmp_path) as running:
        yield running


def ask(server, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_only_who_has_the_address_is_served(server):
    assert server.server_address[0] == "127.0.0.1"
    secret = f"/{server.token}/"
    port = server.server_port
    assert ask(server, secret)[0].status == 200
    assert ask(server, secret + "state", Host=f"localhost:{port}")[0].status == 200
    for host in ("evil.test", f"evil.test:{port}", "127.0.0.1.evil.test", ""):
        assert ask(server, secret + "state", Host=host)[0].status == 404
    for path in (
        "/",
        "/state",
        "//state",
        f"/{server.token[:-1]}/state",
        "/%C3%A9",
        secret + "../etc",
    ):
        response, content = ask(server, path)
        assert response.status == 404
        assert server.token.encode() not in content


def test_headers_keep_the_page_to_itself(server):
    response, content = ask(server, f"/{server.token}/")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    assert b"http" not in content.replace(b"http://x.test/y", b"")  # the guideline's, escaped
    assert NASTY.encode() not in content


def test_what_is_posted_must_be_an_answer(server):
    secret = f"/{server.token}/"
    state = json.loads(ask(server, secret + "state")[1])
    for body in ("", "{", "[]", '{"key": 3}', '{"keys": ""}', '{"labels": ["x"], "key": "\xff'):
        assert ask(server, secret + "answer", "POST", body.encode("latin-1"))[0].status == 400
    assert ask(server, secret + "answer", "POST", b" " * (1 << 17))[0].status == 400
    assert ask(server, secret + "delete", "POST", "{}")[0].status == 404
    for key, labels in (("other", ["billing"]), (state["question"]["key"], [])):
        body = json.dumps({"key": key, "labels": labels})
        response, content = ask(server, secret + "answer", "POST", body)
        assert response.status == 409
        assert json.loads(content)["problem"]
    assert ask(server, secret + "undo", "POST", "{}")[0].status == 409
    assert not server.session.file.answers


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps({"prompt": text}) for text in ROWS))
    command = [sys.executable, "-m", "router_ml.cli", "label", str(log), "--labels", "a,b"]
    running = subprocess.Popen(
        [*command, "--no-open"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    url = next(line.split()[2] for line in running.stderr if line.startswith("Label at "))
    _, _, host, token, _ = url.split("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", f"/{token}/state")
    key = json.loads(connection.getresponse().read())["question"]["key"]
    body = json.dumps({"key": key, "labels": ["b"]})
    connection.request("POST", f"/{token}/answer", body)
    assert json.loads(connection.getresponse().read())["answers"] == 1
    connection.close()
    port = host.split(":")[1]
    other = ["-o", str(tmp_path / "other.jsonl"), "--no-open", "--port", port]
    told = subprocess.run([*command, *other], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert f"Port {port} cannot be listened on" in told.stderr
    assert not (tmp_path / "other.jsonl").exists()
    running.send_signal(signal.SIGINT)
    shown, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "1 answer " in shown
    assert labels_in(tmp_path / "log.labels.jsonl") in ([("b",)], [("b",)] * 2)


def test_a_log_with_a_lone_surrogate(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"prompt": "a \\ude00 b"}\n{"prompt": "c"}')
    log = read_log([tmp_path / "log.jsonl"], 10)
    assert len(log.rows) + len(log.broken) == 2


@pytest.fixture(params=[(390, "light"), (1280, "dark")])
def screen(request):
    return request.param


@contextmanager
def opened(browser, server, width=1280, scheme="light"):
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.set_default_timeout(20_000)
    page.complaints, page.asked = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda asked: page.asked.append(asked.url))
    page.goto(server.url)
    page.wait_for_selector("body[aria-busy=false]")
    yield page
    page.close()


def press(page, *keys):
    """Press keys, each once the last one's answer has come."""
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_selector("body[aria-busy=false]")


def labels_in(path):
    return [example.labels for example in read_examples([path])] if path.stat().st_size else []


@pytest.mark.browser
def test_a_session_by_keyboard_alone(browser, server, tmp_path):
    path = tmp_path / "a.jsonl"
    with opened(browser, server) as page:
        first = page.inner_text("#turns")
        press(page, "2")
        assert [labels[0] for labels in labels_in(path)][-1] == "legal"
        assert page.inner_text("#turns") != first
        press(page, "u")
        assert labels_in(path) == []
        assert page.inner_text("#turns") == first
        press(page, "s")
        assert page.inner_text("#turns") != first
        page.keyboard.press("/")
        page.keyboard.type("Shipping 2u")  # no letter or digit of a name is a command
        assert page.locator("#add").inner_text() == "Add “Shipping 2u”"
        press(page, "Enter")
        assert labels_in(path)[-1] == ("Shipping 2u",)
        assert "Shipping 2u" in page.inner_text("#labels")
        press(page, "1")
        assert page.inner_text("#proposed").startswith("Proposed by your answers: ")
        proposed = page.inner_text("#proposed").split(": ")[1]
        press(page, "Enter")
        assert labels_in(path)[-1] == (proposed,)
        while page.locator("#question").is_visible():
            press(page, "3")
        assert page.locator("#done").is_visible()
        assert f"{len(ROWS)} of {len(ROWS)} rows" in page.inner_text("#progress")
        assert len(labels_in(path)) == len(ROWS)
        press(page, "u")
        assert page.locator("#question").is_visible()
        assert page.complaints == []
        assert all(url.startswith(server.url) for url in page.asked)
        assert page.title() == "Label requests"


@pytest.mark.browser
def test_several_labels_by_pointer(browser, tmp_path):
    with served(tmp_path, single=False) as server, opened(browser, server, 390) as page:
        page.get_by_role("button", name="legal").click()
        page.get_by_role("button", name="code").click()
        pressed = page.locator("#labels [aria-pressed=true]")
        assert pressed.count() == 2
        page.get_by_role("button", name="legal").click()
        assert pressed.count() == 1
        page.get_by_label("Find or add a label").fill("new one")
        page.get_by_role("button", name="Add “new one”").click()
        page.get_by_role("button", name="Accept").click()
        page.wait_for_selector("body[aria-busy=false]")
        assert set(labels_in(tmp_path / "a.jsonl")) == {("code", "new one")}
        press(page, "0")
        assert labels_in(tmp_path / "a.jsonl")[-1] == ()
        assert page.complaints == []


@pytest.mark.browser
def test_many_labels_are_found_by_name(browser, tmp_path):
    labels = [f"label {n}" for n in range(150)]
    with served(tmp_path, labels) as server, opened(browser, server) as page:
        page.keyboard.press("/")
        page.keyboard.type("label 14")
        assert page.locator("#labels button").count() == 11
        press(page, "Enter")  # that name exactly, not the first that contains it
        assert labels_in(tmp_path / "a.jsonl")[-1] == ("label 14",)


@pytest.mark.browser
def test_two_windows(browser, server, tmp_path):
    with opened(browser, server) as one, opened(browser, server) as other:
        press(one, "1")
        count = len(labels_in(tmp_path / "a.jsonl"))
        press(other, "2")  # of a question that is answered: not taken for the next one's
        assert len(labels_in(tmp_path / "a.jsonl")) == count
        assert "not the present one" in other.inner_text("#problem")
        assert other.inner_text("#turns") == one.inner_text("#turns")
        press(other, "2")
        assert len(labels_in(tmp_path / "a.jsonl")) > count


@pytest.mark.browser
def test_a_session_that_stopped_says_so(browser, tmp_path):
    with served(tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("body[aria-busy=false]")
    press(page, "1")
    assert "Every answer so far is saved" in page.inner_text("#problem")
    page.close()


@pytest.mark.browser
def test_it_can_be_read_and_touched(browser, server, screen):
    width, scheme = screen
    with opened(browser, server, width, scheme) as page:
        for _ in ROWS[2:]:
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(CONTRASTS) >= 4.5
            sizes = "[...document.querySelectorAll('button')].filter(e => e.offsetParent)"
            assert page.evaluate(f"{sizes}.every(e => e.offsetHeight >= 44)")
            press(page, "s")
        page.get_by_text("Guideline").click()
        assert NASTY in page.inner_text("#guideline pre")
        assert page.locator("img").count() == 0
        assert page.title() == "Label requests"


@pytest.mark.browser
def test_everything_has_a_name_and_the_question_is_announced(browser, server):
    with opened(browser, server) as page:
        unnamed = "[...document.querySelectorAll('button, input, progress')].filter(e =>"
        unnamed += " e.offsetParent && !(e.textContent.trim() || e.getAttribute('aria-label')))"
        assert page.evaluate(f"{unnamed}.length") == 0
        assert page.get_attribute("#question", "aria-live") == "polite"
        press(page, "1")
        assert page.evaluate("document.activeElement.id") == "question"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
