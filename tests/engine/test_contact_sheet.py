"""Pages of answers: each says what was asked, and marks right answers where they are known."""

import quiver
from quiver import Item, Query
from quiver.engine.contact_sheet import Answer, write


def test_a_page_says_what_was_asked_and_marks_right_answers(tmp_path):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    shop.add(
        [Item(id, {"text": text}) for id, text in (("a", "red hat"), ("b", "red shoe"), ("c", "blue hat"))], workers=0
    )
    query = Query({"text": "red"}, target="text", k=3)
    result = shop.search(query)
    page = tmp_path / "page.html"
    write(page, [Answer(query=query, result=result, asked="What is <red>?", right={"a", "b"})], collection=shop)
    text = page.read_text(encoding="utf-8")
    assert "<p class=asked>What is &lt;red&gt;?</p>" in text and "mark a right answer" in text
    right = [hit.id for hit in result if f"\u2713 {hit.score:.3f}</span>{hit.id}" in text]
    assert sorted(right) == ["a", "b"] and text.count("<figure class=right") == 2
    write(page, [(query, result)], collection=shop)
    plain = page.read_text(encoding="utf-8")
    assert "class=asked" not in plain and "<figure class=right" not in plain and "mark a right answer" not in plain
