import json
import sqlite3

from test_cross_validation import MESSY, messy, rows_of, write
from typer.testing import CliRunner

from router_ml.cli import app


def check(*files, code=1):
    result = CliRunner().invoke(app, ["check", *map(str, files), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


WRONG = {7: "talk", 40: "legal", 80: "billing"}


def mislabelled():
    rows = list(rows_of(120))
    for line, label in WRONG.items():
        assert rows[line - 1]["label"] != label
        rows[line - 1]["label"] = label
    return rows


def test_wrong_labels_are_found_with_file_and_line(tmp_path):
    rows = mislabelled()
    path = write(tmp_path / "rows.jsonl", rows)
    found = check(path)
    assert {one["row"]["line"] for one in found["suspects"]} == set(WRONG)
    assert {one["row"]["file"] for one in found["suspects"]} == {str(path)}
    for one in found["suspects"]:
        assert list(one["said"]) != one["row"]["labels"]
        assert one["text"] in rows[one["row"]["line"] - 1]["prompt"]


def test_conflicts_leaks_repetitions_and_small_labels(tmp_path):
    rows = list(rows_of(60))
    extra = [
        {"prompt": rows[0]["prompt"].upper() + "!", "label": "legal"},
        {"prompt": rows[1]["prompt"], "label": rows[1]["label"]},
        {"prompt": "a rare thing", "label": "rare"},
    ]
    one = write(tmp_path / "one.jsonl", [*rows, *extra])
    two = write(tmp_path / "two.jsonl", [{"text": rows[2]["prompt"], "intent": rows[2]["label"]}])
    found = check(one, two)
    assert (found["rows"], found["left_out"]["repeated"], found["small"]) == (64, 2, {"rare": 1})
    assert found["left_out"]["conflicting"] == 2
    assert found["layouts"] == {"router-ml rows": 63, "a table with a text column": 1}
    (conflict,), (leak,) = found["conflicts"], found["leaks"]
    assert [(row["line"], row["labels"]) for row in conflict["rows"]] == [
        (1, ["billing"]),
        (61, ["legal"]),
    ]
    assert [(row["file"], row["line"]) for row in leak["rows"]] == [(str(one), 3), (str(two), 1)]


def test_a_clean_log_is_said_to_be_clean(tmp_path):
    found = check(write(tmp_path / "rows.jsonl", rows_of(90)), code=0)
    assert found["suspects"] == found["conflicts"] == found["leaks"] == []
    assert found["unjudged"] == ""


def test_what_cannot_be_judged_is_said(tmp_path):
    rows = [row | {"label": "billing"} for row in rows_of(20)]
    path = write(tmp_path / "rows.jsonl", rows)
    assert "nothing to tell apart" in check(path, code=0)["unjudged"]
    result = CliRunner().invoke(app, ["check", str(path)])
    assert "20 rows of 1 label (router-ml rows 20)." in result.stdout


def test_rows_that_training_leaves_out_are_counted_as_training_counts_them(tmp_path):
    rows = messy()
    clash = {row["prompt"] for row in rows[-77:]}
    path = write(tmp_path / "rows.jsonl", rows)
    found = check(path)
    assert found["rows"] == len(rows) == 250
    assert found["left_out"] == {
        "conflicting": 77, "repeated": 18, "tested": 0, "parts": 20, "wordless": 15,
    }  # fmt: skip
    assert len(found["conflicts"]) == len(clash) == 38
    result = CliRunner().invoke(app, ["check", str(path)])
    assert f"Training learns from 120 and leaves out {MESSY}" in result.stdout


def test_labels_that_differ_in_case_are_named(tmp_path):
    rows = [
        row | {"label": row["label"].title() if at % 2 else f" {row['label']} "}
        for at, row in enumerate(rows_of(40))
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    found = check(path)
    assert set(found["labels"]) == {"billing", "Billing", "legal", "Legal", "talk", "Talk"}
    assert ["Billing", "billing"] in found["alike"]
    result = CliRunner().invoke(app, ["check", str(path)])
    assert "- Billing, billing" in result.stdout


def test_labels_too_small_are_why_none_is_judged(tmp_path):
    found = check(write(tmp_path / "rows.jsonl", rows_of(9)))
    assert found["unjudged"] == "fewer than two labels have enough distinct rows."


def test_skipped_rows_are_said_beside_what_is_found(tmp_path):
    path = write(tmp_path / "rows.jsonl", rows_of(9))
    path.write_text(path.read_text() + "nonsense\n")
    for command in (["check"], ["train", "-o", str(tmp_path / "mine")]):
        result = CliRunner().invoke(app, [*command, str(path), "--skip-broken"])
        assert result.exit_code == 1
        assert "skipped: 1" in result.stderr


def test_files_that_are_passed_over_are_named(tmp_path):
    write(tmp_path / "rows.jsonl", rows_of(60))
    for name in ("b.xlsx", "a.log", ".hidden", "_SUCCESS"):
        (tmp_path / name).write_text("x")
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert "passed over: a.log, b.xlsx, no logs by their names; read: 1." in result.stderr
    result = CliRunner().invoke(app, ["check", str(tmp_path / "rows.jsonl")])
    assert "passed over" not in result.stderr


def test_what_nearly_leaks_is_found_with_rows_of_both_files(tmp_path):
    rows = [row | {"prompt": f"{row['prompt']} {row['prompt'][::-1]} " * 4} for row in rows_of(60)]
    one = write(tmp_path / "one.jsonl", rows)
    near = [{"prompt": rows[4]["prompt"] + "!!", "label": rows[4]["label"]}]
    near += [{"prompt": rows[7]["prompt"] + "and", "label": rows[8]["label"]}]
    near += [{"prompt": rows[9]["prompt"][:30] + " quite another thing", "label": "billing"}]
    two = write(tmp_path / "two.jsonl", near)
    leaks = [
        [(row["file"], row["line"]) for row in leak["rows"]] for leak in check(one, two)["leaks"]
    ]
    assert leaks == [[(str(one), 5), (str(two), 1)], [(str(one), 8), (str(two), 2)]]


def flawed(tmp_path):
    """Two files with flaws of each kind: a conflict, a leak, a small label, wrong labels."""
    rows = mislabelled()
    extra = [
        {"prompt": rows[0]["prompt"] + "!", "label": "legal"},
        {"prompt": "a rare thing", "label": "rare", "id": "r1"},
    ]
    train = write(tmp_path / "train.jsonl", [*rows, *extra])
    return train, write(tmp_path / "test.jsonl", [rows[2]])


def fix(tmp_path, *options, answers=""):
    files = map(str, flawed(tmp_path))
    command = ["check", *files, "--fix", str(tmp_path / "clean"), *options]
    result = CliRunner().invoke(app, command, input=answers)
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "clean" / "train.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_usual_is_done_without_asking(tmp_path):
    rows = fix(tmp_path, "--yes")
    before = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert rows == [row for at, row in enumerate(before) if at not in {0, 2, 120}]
    assert (tmp_path / "clean" / "test.jsonl").read_text().count("\n") == 1


def test_answers_are_taken_and_what_is_left_is_clean(tmp_path):
    rows = fix(tmp_path, answers="1\nnonsense\nd\nd\n2\n2\n2\n")
    before = list(rows_of(120))
    for line in WRONG:
        righted = next(row for row in rows if row["prompt"] == before[line - 1]["prompt"])
        assert righted["label"] == before[line - 1]["label"]
    assert sum(row["prompt"].startswith(before[0]["prompt"]) for row in rows) == 2
    assert "rare" not in {row["label"] for row in rows}
    assert check(tmp_path / "clean" / "train.jsonl", tmp_path / "clean" / "test.jsonl", code=0)


def test_who_has_had_enough_gets_the_usual_for_the_rest(tmp_path):
    assert len(fix(tmp_path, answers="k\n")) == 121


def test_a_log_is_not_written_over(tmp_path):
    train, _ = flawed(tmp_path)
    before = train.read_bytes()
    result = CliRunner().invoke(app, ["check", str(train), "--fix", str(tmp_path), "--yes"])
    assert result.exit_code == 1
    assert "is read by this command" in result.output
    assert train.read_bytes() == before


def test_a_header_in_another_case_leaves_no_label_that_was_changed(tmp_path):
    (tmp_path / "log.csv").write_text("Prompt,Label\nan invoice,legal\nAn invoice!,billing\n")
    command = ["check", str(tmp_path / "log.csv"), "--fix", str(tmp_path / "clean")]
    CliRunner().invoke(app, command, input="2\nq\n")
    (clean,) = (tmp_path / "clean").iterdir()
    rows = [json.loads(line) for line in clean.read_text().splitlines()]
    assert [{**row, "prompt": ""} for row in rows] == [{"prompt": "", "label": "billing"}] * 2


def test_a_table_is_fixed_too(tmp_path):
    with sqlite3.connect(tmp_path / "log.db") as database:
        database.execute("CREATE TABLE rows (prompt TEXT, label TEXT)")
        database.executemany("INSERT INTO rows VALUES (:prompt, :label)", rows_of(60))
    database.close()
    command = ["check", str(tmp_path / "log.db"), "--fix", str(tmp_path / "clean"), "--yes"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "clean" / "log.db.jsonl").read_text().splitlines()) == 60


def cleaned(tmp_path, *arguments):
    command = ["check", *map(str, arguments), "--fix", str(tmp_path / "clean"), "--yes"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.stderr.replace("\n", "")


def rows_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_left_keeps_all_its_keys_and_rows_without_labels(tmp_path):
    rows = [
        row | {"customer": f"c{at}", "tools": [], "ts": None} for at, row in enumerate(rows_of(60))
    ]
    rows[5] = {"prompt": "what may this be", "customer": "c5"}
    path = write(tmp_path / "rows.jsonl", rows)
    cleaned(tmp_path, path, "--skip-broken")
    assert rows_in(tmp_path / "clean" / "rows.jsonl") == rows


def test_an_answer_changes_the_label_alone(tmp_path):
    rows = [row | {"customer": f"c{at}"} for at, row in enumerate(rows_of(60))]
    rows.append(rows[0] | {"label": "legal"})
    path = write(tmp_path / "rows.jsonl", rows)
    command = ["check", str(path), "--fix", str(tmp_path / "clean")]
    result = CliRunner().invoke(app, command, input="billing\nq\n")
    assert result.exit_code == 0, result.output
    rows[-1]["label"] = "billing"
    found = (tmp_path / "clean" / "rows.jsonl").read_text()
    assert found == "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def test_a_table_keeps_its_other_columns_and_a_mapped_row_what_was_mapped(tmp_path):
    rows = list(rows_of(60))
    table = [{"Text": r["prompt"], "intent": r["label"], "ts": None} for r in rows]
    cleaned(tmp_path, write(tmp_path / "rows.jsonl", table))
    kept = rows_in(tmp_path / "clean" / "rows.jsonl")
    assert kept == [{"ts": None, "label": r["label"], "prompt": r["prompt"]} for r in rows]
    nested = [{"body": {"text": r["prompt"]}, "team": r["label"], "customer": "c"} for r in rows]
    path = write(tmp_path / "rows.jsonl", nested)
    cleaned(tmp_path, path, "--map", "prompt=body.text", "--map", "label=team")
    assert rows_in(tmp_path / "clean" / "rows.jsonl") == rows


def test_of_a_file_of_which_nothing_is_left_no_older_one_stays(tmp_path):
    rows = list(rows_of(60))
    one, two = write(tmp_path / "one.jsonl", rows[:3]), write(tmp_path / "two.jsonl", rows)
    (tmp_path / "clean").mkdir()
    write(tmp_path / "clean" / "one.jsonl", rows)
    told = cleaned(tmp_path, one, two)
    assert "one.jsonl: 0 rows are left" in told
    assert [path.name for path in (tmp_path / "clean").iterdir()] == ["two.jsonl"]


def test_what_is_scrubbed_is_not_in_what_is_left(tmp_path):
    rows = [row | {"prompt": f"{row['prompt']} ann@example.org"} for row in rows_of(60)]
    cleaned(tmp_path, write(tmp_path / "rows.jsonl", rows), "--scrub", "US")
    written = (tmp_path / "clean" / "rows.jsonl").read_text()
    assert written.count("[email]") == 60
    assert "ann@" not in written
