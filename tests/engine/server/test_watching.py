"""Metrics, the log of slow searches, spans, and recall found beside recall promised."""

import json
import re
import time

import numpy as np
import pytest

import quiver
from quiver.engine.server.settings import Settings

from .conftest import running

ITEMS = 30_000


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A collection of vectors with an index that has a recall target."""
    folder = tmp_path_factory.mktemp("indexed")
    rng = np.random.default_rng(
        0
    )  # clusters: one list of an index of lists has the answer, whatever the machine's load
    vectors = (10 * rng.normal(size=(32, 32))[np.arange(ITEMS) % 32] + rng.normal(size=(ITEMS, 32))).astype("float32")
    shop = quiver.open(folder / "shop", catch_up=False)
    shop.add_vectors(vectors, space="mine", ids=[str(n) for n in range(ITEMS)], meta={"price": list(range(ITEMS))})
    shop.index("faiss factory=IVF32,Flat", recall=0.9, queries=vectors[:100])
    return folder, vectors


def values(text, name):
    """The values of a metric by its labels."""
    return {labels: float(value) for labels, value in re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M)}


def test_recall_found_stands_beside_recall_promised(indexed, no_keys):
    folder, vectors = indexed
    with running([folder / "shop"], Settings(port=0, shadow=1), keys=no_keys) as found:
        for n in range(20):
            body = {"vector": vectors[n].tolist(), "k": 10, "explain": "analyze"}
            stages = found.client.post("/v1/collections/shop/search", json=body).json()["plan"]["stages"]
            (recall,) = [stage for stage in stages if stage["stage"] == "recall"]
            assert recall["index"] == "faiss"
        until = time.monotonic() + 300
        while found.service.watching.waiting and time.monotonic() < until:
            time.sleep(0.05)
        text = found.client.get("/metrics").text
    label = 'collection="shop",selectivity="1",space="mine"'
    compared = values(text, "quiver_recall_compared_total")[label]
    assert compared >= 19  # the last one may still run
    assert 0.7 <= values(text, "quiver_recall_found")[label] <= 1
    assert values(text, "quiver_recall_promised")[label] >= 0.9
    assert values(text, "quiver_items") == {'collection="shop"': ITEMS}
    assert values(text, "quiver_search_seconds_count") == {'collection="shop",route="faiss"': 20}
    assert values(text, "quiver_batch_size_sum")[""] == 20 and values(text, "quiver_queue_seconds_count")[""] == 20
    assert 'quiver_index_behind_share{collection="shop",index="faiss",space="mine"}' in text
    assert 'stage="recall"' in text


def test_a_slow_search_leaves_one_line_with_its_plan_and_no_content(served, caplog):
    held, served.service.watching._slow_ms = served.service.watching._slow_ms, 0.0
    try:
        with caplog.at_level("WARNING", "quiver.server.slow"):
            body = {"text": "a secret wish", "where": "name <> 'another secret'", "k": 3}
            served.client.post("/v1/collections/shop/search", json=body)
    finally:
        served.service.watching._slow_ms = held
    (record,) = [each for each in caplog.records if each.name == "quiver.server.slow"]
    line = json.loads(record.message)
    assert line["slow"] == "shop" and line["hits"] >= 0 and line["plan"][0] == "filter" and line["stages"]
    assert "secret" not in record.message and "\n" not in record.message


def test_each_search_is_a_span_with_a_span_for_each_stage(served):
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(export))
    watching = served.service.watching
    watching._tracer = provider.get_tracer("test")
    try:
        served.client.post("/v1/collections/shop/search", json={"like": "photos/red0.png", "where": "price < 9"})
    finally:
        watching._tracer = None
    spans = {span.name: span for span in export.get_finished_spans()}
    whole = spans["quiver.search"]
    assert {"quiver.filter", "quiver.recall"} <= set(spans) and whole.attributes["quiver.collection"] == "shop"
    for name, span in spans.items():
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time
        assert name == "quiver.search" or span.parent.span_id == whole.context.span_id


def test_without_a_provider_nothing_is_traced(served):
    assert served.service.watching._tracer is None
