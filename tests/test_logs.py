import csv
import gzip
import json
import sqlite3

import duckdb
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from router_ml.batch.fragments import cut
from router_ml.batch.reading import read_rows
from router_ml.cli import app
from router_ml.dispatch.decision_log import DecisionLog, fingerprint_of, said_by
from router_ml.errors import DataError
from router_ml.examples import example_of, read_examples
from router_ml.logs import Skipped, find_files, read_log, read_mapping, scan
from router_ml.logs.layouts import recognise
from router_ml.request import read_request

PROMPT = "where is my refund?"
USER = [{"role": "user", "content": PROMPT}]
ROWS = [{"prompt": PROMPT, "label": "billing"}, {"prompt": "déjà vu, 3\nlines", "label": "talk"}]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_jsonl(path):
    path.write_bytes(lines(ROWS))


def write_bom(path):
    path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS).replace(b"\n", b"\r\n"))


def write_gzip(path):
    path.write_bytes(gzip.compress(lines(ROWS)))


def zstd(data):
    return pyarrow.compress(data, "zstd", asbytes=True)


def write_zstd(path):
    one, two = (zstd(lines([row])) for row in ROWS)  # appended to: two frames
    path.write_bytes(one + two)


def write_json(path):
    path.write_text(json.dumps(ROWS, indent=2))


def write_csv(path, delimiter=","):
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["prompt", "label"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def write_semicolons(path):
    write_csv(path, ";")


def write_csv_gzip(path):
    write_csv(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def write_parquet(path):
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def write_sqlite(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE requests (prompt TEXT, label TEXT)")
        database.executemany("INSERT INTO requests VALUES (:prompt, :label)", ROWS)
    database.close()


def write_duckdb(path):
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE requests (prompt TEXT, label TEXT)")
        database.executemany("INSERT INTO requests VALUES ($prompt, $label)", ROWS)


FILES = {
    "log.jsonl": write_jsonl,
    "windows.jsonl": write_bom,
    "log.jsonl.gz": write_gzip,
    "named-otherwise.log": write_gzip,
    "log.jsonl.zst": write_zstd,
    "log.json": write_json,
    "log.csv": write_csv,
    "excel.csv": write_semicolons,
    "log.csv.gz": write_csv_gzip,
    "log.parquet": write_parquet,
    "log.sqlite": write_sqlite,
    "log.db": write_duckdb,
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_says_the_same(tmp_path, name):
    FILES[name](tmp_path / name)
    examples = read_examples([tmp_path / name])
    assert [(e.request.turns[0].text, e.labels, e.single) for e in examples] == [
        (row["prompt"], (row["label"],), True) for row in ROWS
    ]


LITELLM = {"call_type": "acompletion", "spend": 0.1, "messages": {}, "request_id": "r"}
LAYOUTS = [
    ("router-ml rows", {"messages": USER}),
    ("Chat Completions requests", {"model": "m", "messages": USER, "temperature": 0}),
    ("Responses requests", {"model": "m", "input": PROMPT}),
    ("Responses requests", {"model": "m", "input": USER}),
    ("request/response pairs", {"request": {"model": "m", "messages": USER}, "response": {}}),
    ("request/response pairs", {"request": json.dumps({"messages": USER}), "response": "{}"}),
    ("request/response pairs", {"request": PROMPT, "response": "It is on its way."}),
    ("OpenAI batch file", {"custom_id": "1", "method": "POST", "body": {"messages": USER}}),
    ("OpenAI batch file", {"custom_id": "1", "url": "/v1/responses", "body": {"input": PROMPT}}),
    ("LiteLLM log", {"call_type": "acompletion", "response_cost": 0.1, "messages": USER}),
    ("LiteLLM log", {"call_type": "acompletion", "messages": {"messages": USER}}),
    ("LiteLLM log", {**LITELLM, "proxy_server_request": {"messages": USER}}),
    (
        "LiteLLM log",
        {**LITELLM, "messages": "{}", "proxy_server_request": {"body": {"input": USER}}},
    ),
    ("LiteLLM log", {**LITELLM, "proxy_server_request": json.dumps({"messages": USER})}),
    ("LiteLLM log", {**LITELLM, "messages": json.dumps(USER)}),
    ("Langfuse export", {"traceId": "t", "input": USER, "output": "…"}),
    ("Langfuse export", {"trace_id": "t", "input": json.dumps({"messages": USER}), "output": ""}),
    ("Langfuse export", {"sessionId": None, "input": PROMPT, "output": {"role": "assistant"}}),
    ("Helicone export", {"request_id": "1", "request_body": {"messages": USER}}),
    ("Helicone export", {"request_id": "1", "request_body": json.dumps({"messages": USER})}),
    ("a table with a text column", {"text": PROMPT, "category": "billing"}),
    ("a table with a text column", {"Utterance": PROMPT, "Intent": "billing"}),
]


@pytest.mark.parametrize(("name", "row"), LAYOUTS)
def test_layouts_are_named_and_read(tmp_path, name, row):
    (tmp_path / "log.jsonl").write_bytes(lines([{"label": "billing", **row}]))
    (found,) = read_log([tmp_path / "log.jsonl"])
    example = example_of(*found[:3])
    assert found.layout == name
    assert [turn.text for turn in example.request.turns] == [PROMPT]
    assert example.labels == ("billing",)


def test_instructions_are_a_system_turn(tmp_path):
    row = {"input": PROMPT, "instructions": "Be kind."}
    (tmp_path / "log.jsonl").write_bytes(lines([row]))
    (found,) = read_log([tmp_path / "log.jsonl"])
    assert read_request(found.data["messages"]) == read_request(row)


def test_own_decision_log_is_read_and_one_without_text_says_what_to_do(tmp_path):
    read = read_request(PROMPT)
    decided = {"route": "billing", "labels": ["billing"], "reason": "classified", "attempts": []}
    for name, said in (("with", said_by(read)), ("without", fingerprint_of(read.turns))):
        log = DecisionLog(tmp_path / name)
        log.write({**decided, **said})
        log.close()
    (row,) = read_log([tmp_path / "with"])
    assert row.layout == "router-ml decision log"
    assert read_examples([tmp_path / "with"])[0].labels == ("billing",)
    with pytest.raises(DataError, match=r"without:1: .*DecisionLog\(text=True\)"):
        list(read_log([tmp_path / "without"]))


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"custom_id": "1", "response": {}}, "input file"),
        (LITELLM, "store_prompts_in_spend_logs"),
        ({"request_body": None, "helicone_user": "u"}, "--include-body"),
        ({"traceId": "t", "input": 3, "output": 4}, "no request"),
        ({"text": 3, "label": "x"}, "no string"),
        ({"text": "a", "query": "b"}, "text and query .* --map prompt=text"),
        ({}, "--map prompt=PLACE"),
    ],
)
def test_rows_without_a_request_say_what_to_do(tmp_path, row, advice):
    (tmp_path / "log.jsonl").write_bytes(lines([row]))
    with pytest.raises(DataError, match=f"log.jsonl:1: .*{advice}"):
        list(read_log([tmp_path / "log.jsonl"]))


def test_a_mapping_says_where_things_are(tmp_path):
    row = {"body": json.dumps({"turns": [{"said": PROMPT}]}), "meta": {"team": 3}, "a.b": "x"}
    (tmp_path / "log.jsonl").write_bytes(lines([row, {"body": "{}", "meta": {}}]))
    mapping = read_mapping(["prompt=body.turns.-1.said", "label=meta.team", "id=a.b"])
    skipped = Skipped()
    (example,) = read_examples([tmp_path / "log.jsonl"], mapping=mapping, broken=skipped)
    assert (example.request.turns[0].text, example.labels, example.id) == (PROMPT, ("3",), "x")
    assert "body.turns.-1.said" in str(skipped.first[0])


@pytest.mark.parametrize(
    ("row", "mapping", "labels", "single"),
    [
        ({"labels": ["old"], "team": "billing"}, "label=team", ("billing",), True),
        ({"label": "old", "teams": ["a", "b"]}, "labels=teams", ("a", "b"), False),
        ({"text": "b", "category": "old", "team": "billing"}, "label=team", ("billing",), True),
    ],
)
def test_a_mapped_label_displaces_the_labels_of_the_row(tmp_path, row, mapping, labels, single):
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines([{"prompt": "a", **row}]))
    (example,) = read_examples([path], mapping=read_mapping([mapping]))
    assert (example.labels, example.single) == (labels, single)


def read_table(path, text, **options):
    path.write_text(text)
    skipped = Skipped()
    found = read_examples([path], broken=skipped, **options)
    said = [example.request.turns[0].text for example in found]
    labels = [example.labels for example in found]
    return said, labels, list(map(str, skipped.first))


def test_the_header_says_which_column_is_the_label_not_what_a_row_has(tmp_path):
    path = tmp_path / "log.csv"
    table = "text,category,topic\na,x,\nb,,y\n"
    _, labels, refused = read_table(path, table)
    assert not labels
    assert all("just one of category" in error for error in refused)
    mapping = read_mapping(["label=topic"])
    assert read_table(path, table, mapping=mapping)[:2] == (["b"], [("y",)])
    _, labels, refused = read_table(path, "text,label,topic\na,x,\nb,,y\n")
    assert (labels, len(refused)) == ([("x",)], 1)
    _, labels, refused = read_table(path, "text,labels,topic\na,x;z,\nb,,y\n")
    assert (labels, len(refused)) == ([("x", "z")], 1)


def test_the_header_says_which_column_is_the_text(tmp_path):
    path = tmp_path / "log.csv"
    table = "question,content,intent\na,,x\n,b,y\n"
    said, _, refused = read_table(path, table)
    assert not said
    assert "question and content" in refused[0]
    said, labels, _ = read_table(path, table, mapping=read_mapping(["prompt=question"]))
    assert (said, labels) == (["a"], [("x",)])
    said, _, refused = read_table(path, "prompt,text,label\na,,x\n,b,y\n")
    assert said == ["a"]
    assert "'prompt', is empty" in refused[0]


def test_columns_of_databases_say_it_as_headers_do(tmp_path):
    rows = [{"text": "a", "category": "x", "topic": None}, {"text": "b", "topic": "y"}]
    path = tmp_path / "log.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(DataError, match="just one of category"):
        read_examples([path])
    (fragment,) = cut(path)
    read = [recognise(row, {}) for row in read_rows(fragment)]
    assert ["label" in row.data for row in read] == [False, False]


@pytest.mark.parametrize(
    ("table", "labels"),
    [
        ("Prompt,Label\na,x\n", ("x",)),
        ("Label,prompt,label\ny,a,x\n", ("x",)),
        ("prompt,intent\na,x\n", ("x",)),
        ("TEXT,LABELS\na,x;y\n", ("x", "y")),
        ("text,label\na, x \n", ("x",)),
    ],
)
def test_names_of_columns_count_whatever_their_case(tmp_path, table, labels):
    assert read_table(tmp_path / "log.csv", table)[:2] == (["a"], [labels])


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"label": 3}, ("3",)),
        ({"labels": [" a", "a ", 3]}, ("3", "a")),
        ({"category": "a"}, ("a",)),
        ({"label": None, "category": "a"}, "--map label=PLACE"),
        ({"route": "a", "confidence": 0.9}, "--map label=PLACE"),
        ({"label": 3.5}, "must be a string"),
        ({"label": " "}, "'' is no label"),
    ],
)
def test_labels_as_json_has_them(tmp_path, row, found):
    path = tmp_path / "log.jsonl"
    _, labels, refused = read_table(path, json.dumps({"prompt": "a", **row}))
    assert labels == [found] if isinstance(found, tuple) else found in refused[0]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.json", "log.csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_what_is_no_utf_8_is_refused_with_its_encoding(tmp_path, name, encoding):
    text = "text,label\nwhere?,Rückgabe\n" if "csv" in name else '{"text": "a", "label": "ü"}\n'
    data = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    wanted = "UTF-16" if encoding == "utf-16" else "WINDOWS-1252"
    with pytest.raises(DataError, match=rf"{name}:[12]: is no UTF-8: .* iconv -f {wanted}"):
        read_examples([tmp_path / name])


def test_rows_that_are_utf_8_are_read_beside_others(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("text,label\nwürde,x\n".encode() + "Rück,y\nb,z\n".encode("latin-1"))
    skipped = Skipped()
    assert [row.data["prompt"] for row in read_log([path], broken=skipped)] == ["würde", "b"]
    assert [error.line for error in skipped.first] == [3]


def test_cells_of_sqlite_that_are_no_utf_8_are_not_taken_for_text(tmp_path):
    path = tmp_path / "log.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE requests (prompt, label, picture)")
        insert = "INSERT INTO requests VALUES ({}, 'x', x'ff00')"
        for cell in ("'good'", "CAST(x'52fc' AS TEXT)", "x'52fc'", "x'52'"):
            database.execute(insert.format(cell))
    database.close()
    skipped = Skipped()
    found = read_examples([path], broken=skipped)
    assert [example.request.turns[0].text for example in found] == ["good", "R"]
    assert [error.line for error in skipped.first] == [2, 3]
    assert "its 'prompt' is no UTF-8" in str(skipped.first[0])


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("text|label\na, b|x\n", 2),
        ('text,"la\nbel",label\n"a, b",,x\n', 3),
        ('"say ""text""\n";text;label\n;a, b;x\n', 3),
    ],
)
def test_headers_of_other_forms(tmp_path, table, line):
    (tmp_path / "log.csv").write_text(table)
    (row,) = read_log([tmp_path / "log.csv"])
    assert (row.data["prompt"], row.data["label"], row.number) == ("a, b", "x", line)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("log.json", json.dumps({"data": ROWS}, indent=1), "one line"),
        ("log.json", json.dumps({"data": ROWS}), r"jq -c '\.data\[\]'"),
        ("log.json", "".join(json.dumps(row, indent=1) for row in ROWS), "jq -c . of objects"),
        ("log.jsonl", json.dumps(ROWS, indent=1), "one array in a .json file"),
        ("log.xlsx", "PK\x03\x04nonsense", "save it as CSV"),
        ("log.jsonl.bz2", "BZh9nonsense", "gzip"),
    ],
)
def test_files_of_other_forms_say_what_to_do(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}.*{said}"):
        list(read_log([tmp_path / name]))


def test_a_cell_without_text_is_said_to_be_empty(tmp_path):
    _, _, refused = read_table(tmp_path / "log.csv", "Text,label\na,x\n,x\n")
    assert "log.csv:3: its text, 'Text', is empty" in refused[0]


@pytest.mark.parametrize("pair", ["prompt", "prompt=", "prmpt=text", "=x"])
def test_a_mapping_with_a_mistake_is_refused(pair):
    with pytest.raises(DataError, match="FIELD=PLACE"):
        read_mapping([pair])


def test_broken_rows_are_refused_or_counted_and_shown(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"prompt": "a", "label": "x"}\n\nnonsense\n[1]\n{"prompt": "b"}\n')
    with pytest.raises(DataError, match=":3: no JSON"):
        list(read_log([path]))
    skipped = Skipped(keep=2)
    assert len(read_examples([path], broken=skipped)) == 1
    assert (skipped.count, [error.line for error in skipped.first]) == (3, [3, 4])


def test_broken_csv_rows_have_their_line(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('text,label\n"two\nlines",x\na,b,c\n\nlast,y\n')
    skipped = Skipped()
    rows = list(read_log([path], broken=skipped))
    assert [(row.number, row.data["prompt"]) for row in rows] == [(2, "two\nlines"), (6, "last")]
    assert [error.line for error in skipped.first] == [4]


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("router_ml.logs.lines.LONGEST", 1000)
    path = tmp_path / "log.csv"
    path.write_text('text,label\n"never closed,x\n' + "a,b\n" * 1000)
    skipped = Skipped()
    list(read_log([path], broken=skipped))
    assert "field larger than field limit" in str(skipped.first[0])
    assert csv.field_size_limit() == 131_072


def test_a_line_without_end_is_one_broken_row(tmp_path, monkeypatch):
    monkeypatch.setattr("router_ml.logs.lines.LONGEST", 1 << 20)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"prompt": "' + b"a" * (3 << 20) + b'"}\n{"prompt": "b"}\n')
    first, second = scan(path)
    assert first.problem == "the line is longer than 1 MiB."
    assert (second.number, second.data["prompt"]) == (2, "b")


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_a_stream_cut_short_is_said(tmp_path, compress):
    path = tmp_path / "log.jsonl"
    rows = [{"prompt": "".join(chr(33 + (i * i + j) % 90) for j in range(99))} for i in range(999)]
    path.write_bytes(compress(lines(rows))[:-300])
    with pytest.raises(DataError, match="cut short"):
        list(read_log([path]))


def test_directories_and_globs(tmp_path):
    for name in (
        "b.jsonl",
        "a/c.csv",
        "a/notes.txt",
        ".hidden/d.jsonl",
        "_bad/d.jsonl",
        "decisions.jsonl.1",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text\nx\n" if name.endswith(".csv") else '{"prompt": "x"}')
    found = [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path)]
    assert found == ["a/c.csv", "b.jsonl", "decisions.jsonl.1"]
    assert find_files(f"{tmp_path}/**/*.csv") == [tmp_path / "a/c.csv"]
    (tmp_path / "[1].jsonl").write_text('{"prompt": "y"}')
    assert find_files(tmp_path / "[1].jsonl") == [tmp_path / "[1].jsonl"]
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "*.parquet"):
        with pytest.raises(DataError):
            find_files(tmp_path / nothing)


@pytest.mark.parametrize("name", ["log.sqlite", "log.db"])
def test_a_database_of_several_tables_wants_one_named(tmp_path, name):
    path = tmp_path / name
    FILES[name](path)
    connect = sqlite3.connect if name == "log.sqlite" else duckdb.connect
    database = connect(str(path))
    database.execute('CREATE TABLE "users" (name TEXT)')
    database.commit()
    database.close()
    with pytest.raises(DataError, match="::TABLE; it has requests, users"):
        list(read_log([path]))
    with pytest.raises(DataError, match="no table 'nothing'"):
        list(read_log([f"{path}::nothing"]))
    assert [row.number for row in read_log([f"{path}::requests"])] == [1, 2]


@pytest.mark.parametrize("start", [b"PAR1", b"SQLite format 3\0", b"checksumDUCK", b"\x1f\x8b"])
def test_broken_files_get_one_sentence(tmp_path, start):
    path = tmp_path / "log.jsonl"
    path.write_bytes(start + b"nonsense" * 99)
    with pytest.raises(DataError, match=str(path)):
        list(read_log([path]))


KEYS = (
    "prompt messages input request label labels body custom_id text call_type request_body "
    "output trace_id"
)
PARTS = st.sampled_from(["role", "content", "messages", "input", "body"])
VALUES = st.recursive(
    st.none() | st.text() | st.integers() | st.sampled_from(["[1]", "{}", '{"input": 3}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PARTS, inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS.split()), VALUES))
def test_any_row_is_read_or_has_a_problem(tmp_path_factory, row):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(lines([row]))
    skipped = Skipped()
    read = read_examples([path], broken=skipped)
    assert len(read) + skipped.count == 1


def test_classify_reads_any_log(tmp_path):
    write_csv(tmp_path / "a.csv")
    write_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.jsonl").write_text("nonsense\n")
    result = CliRunner().invoke(app, ["classify", str(tmp_path)])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert ["route" in row for row in rows] == [True] * 4 + [False]
    assert (rows[4]["line"], rows[4]["file"]) == (1, str(tmp_path / "c.jsonl"))
