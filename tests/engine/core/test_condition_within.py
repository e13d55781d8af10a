"""Conditions that must hold beside a user's own: each is read by itself, so neither changes the other's meaning."""

import numpy as np
import pytest

import quiver
from quiver.conditions import Condition, Params
from quiver.errors import BadSpec, Unexpected
from quiver.types import Query

OWN = Condition("tenant = :t", Params.of({"t": "a"}))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    collection = quiver.open(tmp_path_factory.mktemp("within") / "shop", catch_up=False)
    meta = {"tenant": ["a", "b"] * 10, "price": list(range(20))}
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    collection.add_vectors(vectors, space="mine", ids=[str(n) for n in range(20)], meta=meta)
    return collection


def within(text, **params):
    return Condition(text, Params.of(params), within=OWN)


def test_both_conditions_hold_wherever_a_condition_is_taken(shop):
    found = shop.search(Query(vector=np.ones(4, "float32"), where=within("price < :most", most=7), k=20))
    assert sorted(found.ids) == ["0", "2", "4", "6"]
    assert all(stage["where"] == "price < :most" for stage in found.plan.to_dict()["stages"] if "where" in stage)
    assert shop.count(within("price < 7")) == 4 and shop.count(OWN) == 10
    assert [item.id for item in shop.head(2, within("price > 3"))] == ["4", "6"]
    assert sum(len(batch) for batch in shop.scan(where=within("price > 3"))) == 8


@pytest.mark.parametrize(
    "text", ["1=1) OR (1=1", "price > 3 -- ", "price > 3; DROP TABLE x", "price > 3 OR", "/*", "'"]
)
def test_no_text_leads_out_of_the_other_condition(shop, text):
    for call in (shop.count, lambda where: shop.delete(where=where), lambda where: shop.head(1, where)):
        with pytest.raises(BadSpec):
            call(within(text))
    assert shop.count() == 20


def test_an_or_in_one_condition_does_not_widen_the_other(shop):
    assert shop.count(within("price < 3 OR price > 16")) == 3
    assert shop.count(within("tenant = 'b' OR 1 = 1")) == 10


def test_a_deletion_needs_a_condition_of_its_own_that_names_a_column(shop):
    with pytest.raises(BadSpec, match="names no column"):
        shop.delete(where=within("1 = 1"))
    with pytest.raises(Unexpected, match="4 items match, and 3 were expected"):
        shop.delete(where=within("price < 7"), expect=3)
    assert shop.count() == 20


def test_every_query_of_a_list_ends_with_its_own_answer_or_error(shop):
    good = Query(vector=np.ones(4, "float32"), k=3)
    bad = [Query(vector=np.ones(5, "float32")), Query(like="nobody"), Query(vector=np.ones(4, "float32"), where="x")]
    found = shop.search_each([good, bad[0], good, bad[1], bad[2]])
    assert found[0].ids == found[2].ids == shop.search(good).ids
    for error, query in zip((found[1], found[3], found[4]), bad, strict=True):
        with pytest.raises(type(error)) as alone:
            shop.search(query)
        assert str(alone.value) == str(error)
    assert shop.search_each([]) == []
