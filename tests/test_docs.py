"""The pages say what the code says: their links, commands, options, Python and layers."""

import ast
import re
import shlex
import tomllib

import pytest
from conftest import ROOT
from typer.main import get_command

from router_ml.cli import app

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = get_command(app).commands


def named(page):
    return page.name


def commands_of(page):
    """The router-ml commands of a page's blocks, each as words, continued lines joined."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(r"^ {4}(?:.* && )?(?:\S*/)?router-ml (.*)", text, re.MULTILINE)
    words = (shlex.split(line, comments=True) for line in found)
    return [line[: line.index(">")] if ">" in line else line for line in words]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", page.read_text()):
        linked = page.parent / target
        assert linked.is_file(), target
        heads = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
        assert not anchor or anchor in {head.lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_their_options_exist(page):
    for name, *rest in commands_of(page):
        options = {opt for p in COMMANDS[name].params for opt in (*p.opts, *p.secondary_opts)}
        assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= options, name


def test_commands_are_found():
    words = [command for page in PAGES for command in commands_of(page)]
    assert {name for name, *_ in words} >= {"route", "train", "replay", "serve", "label"}
    assert any("--fail-under" in command for command in words)  # on a continued line


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_parses_and_what_it_imports_exists(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("router_ml"):
                module = __import__(node.module, fromlist=["_"])
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_architecture_is_that_of_the_code():
    page = (ROOT / "docs/architecture.md").read_text()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    assert "\n".join(f"    {layer}" for layer in layers) in page
    rooms = {path.name for path in (ROOT / "router_ml").glob("*.py") if path.stem != "__init__"}
    rooms |= {f"{path.parent.name}/" for path in (ROOT / "router_ml").glob("*/__init__.py")}
    assert rooms == set(re.findall(r"^\| `(\w+(?:\.py|/))` \|", page, re.MULTILINE))
    changes = page.partition("## Where does my change belong?")[2]
    places = re.findall(r"`([\w/]+(?:\.\w+|/))`", changes)
    assert places
    for place in places:
        assert any((root / place).exists() for root in (ROOT / "router_ml", ROOT)), place
