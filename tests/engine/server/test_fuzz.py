"""Whatever is sent, the service answers as it says: schemathesis on the OpenAPI document, and broken forms."""

import random

import pytest
from hypothesis import HealthCheck, given, settings

from .conftest import make_shop, running

schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory, no_keys):
    """A collection that may be changed in any way."""
    folder = tmp_path_factory.mktemp("fuzzed")
    make_shop(folder)
    with running([folder / "shop"], keys=no_keys) as found:
        found.folder = folder
        yield found


#: Statuses that an answer may have; 5xx are faults, beside 503 for what waits and 504 for a deadline.
ALLOWED = {200, 202, 206, 304, 400, 403, 404, 405, 408, 409, 410, 413, 415, 416, 422, 429, 503, 504}


def test_no_request_that_the_document_describes_ends_in_a_fault(fuzzed):
    schema = schemathesis.openapi.from_url(f"{fuzzed.address}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 25
    for operation in operations:
        if operation.method == "post" and operation.path.endswith("/jobs"):
            continue  # each would start a process
        assert asked(operation), operation.label


def asked(operation):
    """Ask what hypothesis makes of an operation, and return the statuses of the answers."""
    statuses = set()

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(case=operation.as_strategy())
    def check(case):
        answer = case.call()
        statuses.add(answer.status_code)
        assert answer.status_code in ALLOWED, (case.as_curl_command(), answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["status"] == answer.status_code

    check()
    return statuses


BOUNDARY = b"xyz"


def form(rng, picture):
    """A form, and then damage to it: cut, doubled, changed, or with other heads."""
    parts = [
        b'Content-Disposition: form-data; name="query"\r\n\r\n{"k": 2}',
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + picture,
    ]
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + BOUNDARY + b"--\r\n"
    place, other = rng.randrange(len(body)), rng.randrange(1, 40)
    noise = bytes(rng.randrange(256) for _ in range(8))
    heads = [b"", b"attachment", b"form-data; name", b'form-data; name=""']
    names = [b'filename="../../x"', b"filename*=utf-8''%00", b'filename="', b"x" * 9_000]
    return rng.choice(
        [
            body[:place],
            body[:place] + noise + body[place + 8 :],
            body.replace(b"form-data", rng.choice(heads)),
            body.replace(b'filename="a.png"', rng.choice(names)),
            body.replace(b"\r\n", rng.choice([b"\n", b"\r", b"\r\n\r\n"])),
            body * other,
            body[:place] + body[place + other :],
            body,
        ]
    )


# Starlette leaves the spool of a broken form to be collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_broken_form_ends_in_a_fault(fuzzed):
    rng = random.Random(0)
    picture = (fuzzed.folder / "photos" / "red0.png").read_bytes()
    statuses = set()
    for _ in range(120):
        mark = rng.choice(["; boundary=xyz", "; boundary=", "", f"; boundary={'x' * 300}", '; boundary="xyz"'])
        kind = f"multipart/form-data{mark}"
        content = form(rng, picture)
        answer = fuzzed.client.post("/v1/collections/shop/search", content=content, headers={"Content-Type": kind})
        statuses.add(answer.status_code)
        assert answer.status_code in ALLOWED - {503}, (kind, content[:300], answer.text)
    assert {200, 400, 422} <= statuses
    assert fuzzed.client.post("/v1/collections/shop/search", json={"text": "thing"}).status_code == 200
