"""Collections that are served, by a real server on a free port of this machine or as an ASGI application."""

import asyncio
import contextlib
import threading
import time
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

import quiver
from quiver.engine.server.app import app_of
from quiver.engine.server.keys import Keys
from quiver.engine.server.running import address_of
from quiver.engine.server.served import Catalogue
from quiver.engine.server.service import Service
from quiver.engine.server.settings import Settings


def make_shop(folder):
    """A collection of 24 pictures with a price, a colour and a tenant, in a folder beside its photos."""
    (folder / "photos").mkdir(parents=True)
    rng, lines = np.random.default_rng(7), ["file,colour,price,tenant,name"]
    for colour, base in {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 200)}.items():
        for n in range(8):
            pixels = np.clip(np.array(base) + rng.integers(-25, 25, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"{colour}{n}.png")
            lines.append(f"{colour}{n}.png,{colour},{len(lines) - 1},{'ab'[n % 2]},the {colour} thing number {n}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    shop = quiver.open(folder / "shop", catch_up=False)
    shop.add(
        folder / "photos", meta=folder / "photos.csv", encoder="classic", id_column="none", workers=0, progress=False
    )
    return shop


@contextlib.contextmanager
def running(places, settings=None, keys=None):
    """Run a server in a thread; yields its service, its address and a client."""
    service = Service(Catalogue([str(place) for place in places]), settings or Settings(port=0), keys=keys)
    server = uvicorn.Server(uvicorn.Config(app_of(service), port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    address = address_of(server)
    try:
        with httpx.Client(base_url=address, timeout=60) as client:
            yield SimpleNamespace(service=service, address=address, client=client, server=server)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with photos and the collection of them."""
    folder = tmp_path_factory.mktemp("serve")
    return SimpleNamespace(folder=folder, uri=folder / "shop", collection=make_shop(folder))


@pytest.fixture(scope="module")
def no_keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def served(shop, no_keys):
    """The shop, served by a real server that needs no key."""
    with running([shop.uri], keys=no_keys) as found:
        yield SimpleNamespace(**vars(found), shop=shop.collection, folder=shop.folder)


@pytest.fixture
def client(served):
    return served.client
