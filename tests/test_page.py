import json
import re

import pytest
from conftest import CONTRASTS, ROOT

from router_ml.evaluation.charts import Axes, Point, Track, bars, curve, intervals
from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.page import page
from router_ml.evaluation.report import make_report
from router_ml.evaluation.systems import find_system
from router_ml.evaluation.traffic import CLASSIC

NASTY = '</blockquote></script><script>document.title="taken"</script><img src="http://x.test/y">'


@pytest.fixture(scope="module")
def path(tmp_path_factory, router):
    """A report on real rows, and on one that tries to be markup."""
    folder = tmp_path_factory.mktemp("page")
    nasty = folder / "nasty.jsonl"
    nasty.write_text(json.dumps({"prompt": NASTY, "labels": ["chinese", "math"]}) + "\n")
    files = [ROOT / "training/prompts/test/turns.jsonl", nasty]
    report = make_report(files, router, [find_system("keywords", router)], traffic=CLASSIC)
    target = folder / "report.html"
    target.write_text(page(report), encoding="utf-8")
    return target


def test_the_file_names_nothing_outside_itself(path):
    text = path.read_text()
    attributes = re.findall(r'<[^>]*\s(?:src|href|action)="([^"]*)"', text)
    assert all(value.startswith(("#", "data:")) for value in attributes)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_what_rows_say_is_escaped(path):
    text = path.read_text()
    assert NASTY not in text
    assert "&lt;/blockquote&gt;&lt;/script&gt;" in text


def test_every_chart_says_its_figures_in_words():
    figure = Figure(0.5, 0.4, 0.6)
    track = Track("<name>", figure, "50%")
    for drawn in (bars([track]), intervals([track])):
        assert "&lt;name&gt;" in drawn
        assert "50%" in drawn
    drawn = curve([Point(0.5, figure, "half")], Axes("title", "x", "y"), diagonal=True)
    assert 'aria-label="half"' in drawn


def test_bars_and_dots_are_where_their_figures_are():
    tracks = [Track("a", Figure(1, 1, 1), ""), Track("b", Figure(0.25, 0.25, 0.25), "")]
    assert re.findall(r"width:([\d.]+)%", bars(tracks)) == ["100.00", "25.00"]
    dots = re.findall(r'dot" style="left:([\d.]+)%', intervals(tracks))
    assert [float(dot) for dot in dots] == pytest.approx([100, 100 * 0.05 / 0.8])
    assert bars([Track("nothing", Figure(0, 0, 0), "")])


@pytest.fixture(params=[(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def opened(request, browser, path):
    width, scheme = request.param
    found = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    found.complaints, found.asked = [], []
    found.on("console", lambda message: found.complaints.append(message.text))
    found.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.on("request", lambda asked: found.asked.append(asked.url))
    found.goto(path.as_uri())
    yield found
    found.close()


@pytest.mark.browser
def test_it_opens_without_a_complaint_and_asks_nothing_of_any_network(opened, path):
    assert opened.title() != "taken"
    assert opened.complaints == []
    assert opened.asked == [path.as_uri()]


@pytest.mark.browser
def test_it_fits_the_screen_and_can_be_read(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate(CONTRASTS) >= 4.5
    assert opened.locator("h2").first.inner_text() == "Verdict"
    assert opened.evaluate("document.querySelector('.verdict').getBoundingClientRect().top < 844")


@pytest.mark.browser
def test_tables_sort_and_points_say_what_they_are(opened):
    header = opened.locator("section.slices th", has_text="rows").get_by_role("button")
    cells = (
        "[...document.querySelectorAll('section.slices td:nth-child(3)')].map(e => e.textContent)"
    )
    for descending in (True, False):
        header.click()
        rows = [int(cell.replace(",", "")) for cell in opened.evaluate(cells)]
        assert rows == sorted(rows, reverse=descending)
    opened.mouse.move(0, 0)  # or what scrolls under it is pointed at, too
    point = opened.locator(".point").first
    point.focus()
    assert opened.locator("#tip").inner_text() == point.get_attribute("data-tip")
    assert opened.complaints == []


@pytest.mark.browser
def test_it_prints_everything(opened):
    opened.emulate_media(media="print")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.evaluate("[...document.querySelectorAll('details')].every(e => e.open)")
    assert opened.locator("nav").is_hidden()
