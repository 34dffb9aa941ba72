from pathlib import Path

import pytest
from faces import AsyncFace, SyncFace
from hypothesis import HealthCheck, settings
from provider import Provider

from router_ml import Router

ROOT = Path(__file__).parent.parent

# A busy machine is slow for reasons that are no property of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def router() -> Router:
    return Router.load()


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
