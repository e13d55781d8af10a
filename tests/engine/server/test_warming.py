"""A service that loads its collections before anybody searches."""

import shutil
import time

from quiver.engine.server.served import Catalogue
from quiver.engine.server.settings import Settings
from quiver.engine.server.warming import warm

from .conftest import running


def until_ready(client):
    """Return the bodies that /readyz answered until it was ready."""
    bodies = []
    for _ in range(2000):
        answer = client.get("/readyz")
        if answer.status_code == 200:
            return bodies
        bodies.append(answer.json())
        time.sleep(0.005)
    raise AssertionError(bodies[-1])


def test_indexes_and_encoders_are_loaded_before_the_service_says_that_it_is_ready(shop, no_keys, caplog):
    with running([shop.uri], Settings(port=0, warm=True), keys=no_keys) as found:
        for body in until_ready(found.client):
            assert body["status"] == 503 and "loads its collections" in body["detail"]
        (served,) = found.service.catalogue.all()
        residents = served.collection._session()._residents
        assert {column.key for column in residents} == {column.key for column in served.collection.info().columns}
        assert all(each._loaded for each in residents.values())
    assert not caplog.records


def test_what_cannot_be_loaded_is_logged_and_keeps_nobody_from_the_rest(shop, tmp_path, caplog):
    shutil.copytree(shop.uri, tmp_path / "broken")
    catalogue = Catalogue([str(tmp_path / "broken"), str(shop.uri)])
    for file in (tmp_path / "broken" / "items.lance" / "data").iterdir():
        file.write_bytes(b"no longer a file of Lance")
    warm(catalogue.all())
    assert caplog.records and all(each.getMessage().startswith("broken: ") for each in caplog.records)
    assert all(each._loaded for each in catalogue._served["shop"].collection._session()._residents.values())
    catalogue.close()


def test_what_fails_because_the_service_has_ended_is_no_news(shop, caplog):
    """Ctrl-C while collections are loaded said that they were closed, and to open them again."""
    catalogue = Catalogue([str(shop.uri)])
    served = catalogue.all()
    catalogue.close()
    warm(served, going=lambda: False)
    assert not caplog.records
    warm(served)
    assert caplog.records
