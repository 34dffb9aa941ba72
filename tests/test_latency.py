import subprocess
from itertools import islice

import pytest

from router_ml.artifact import GoldenRow
from router_ml.evaluation.latency import (
    LANGUAGES,
    LENGTHS,
    bench,
    latency_of,
    measure,
    short_prompts,
    start,
    texts_of,
)


@pytest.fixture(scope="module")
def rows(router):
    return router.artifact.golden()


def is_ordered(latency):
    return 0 < latency.p50_us <= latency.p99_us <= latency.p999_us


def test_bench_measures_everything(router):
    found = bench(router, calls=20)
    assert set(found.latency) == set(LANGUAGES)
    for by_length in found.latency.values():
        assert set(by_length) == set(LENGTHS)
        assert all(is_ordered(cell) and cell.calls == 20 for cell in by_length.values())
    assert found.one_core_per_s > 0
    assert found.all_cores_per_s > 0
    assert found.cores >= 1
    assert found.start.load_ms > 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("length", [1, *LENGTHS])
def test_texts_have_the_length_asked_for(rows, language, length):
    assert {len(text) for text in islice(texts_of(length, language, rows), 50)} == {length}


def test_texts_differ_and_speak_their_language(rows):
    english = list(islice(texts_of(200, "en", rows), 100))
    chinese = list(islice(texts_of(200, "zh", rows), 100))
    assert len(set(english)) == len(set(chinese)) == 100
    assert all(sum(map(str.isascii, text)) > 180 for text in english)
    assert all(sum("\u4e00" <= c <= "\u9fff" for c in text) > 50 for text in chinese)


def test_a_language_without_rows_is_refused():
    rows = [GoldenRow("Bonjour à tous, où est l'hôtel, s'il vous plaît ?", (0.0,))]
    with pytest.raises(ValueError, match="'zh'"):
        next(texts_of(40, "zh", rows))


def test_japanese_is_not_taken_for_chinese():
    rows = [GoldenRow("東京の天気予報を教えて", (0.0,)), GoldenRow("今天天气怎么样", (0.0,))]
    assert set(next(texts_of(100, "zh", rows))) <= set("今天天气怎么样\n")


def test_short_prompts_are_about_60_bytes(rows):
    prompts = short_prompts(101, rows)
    assert len(prompts) == 101
    assert 45 < sum(len(prompt.encode()) for prompt in prompts) / len(prompts) < 75


def test_every_text_is_timed_and_the_first_are_asked_twice():
    asked = []
    latency = measure(asked.append, (str(number) for number in range(50)))
    assert latency.calls == 50
    assert is_ordered(latency)
    assert asked.count("0") == 2
    assert asked.count("49") == 1


def test_percentiles_are_microseconds():
    latency = latency_of([1_000] * 98 + [5_000, 9_000])
    assert latency.p50_us == 1
    assert 1 < latency.p99_us < latency.p999_us <= 9


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="no call"):
        measure(len, [])


def test_a_fresh_process_loads_the_artifact(router):
    # Far more memory than the process needs: its own figure must not be its parent's.
    ballast = bytearray(b"x") * (200 << 20)
    found = start(router.artifact.path, starts=1)
    assert found.load_ms > 0
    assert found.resident_mb is None or 20 < found.resident_mb < len(ballast) / (1 << 20)


def test_a_process_that_fails_is_an_error(tmp_path, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        start(tmp_path / "nowhere", starts=1)
    assert "ArtifactNotFound" in capfd.readouterr().err
