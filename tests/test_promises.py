"""Every test that docs/promises.md names exists, so that no promise is held by nothing."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_promise_is_held_by_tests_that_exist():
    lines = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 12
    for row in rows:
        tests = NAMED.findall(row)
        assert tests, f"no test holds: {row[:60]}"
        for path, name in tests:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert not name or f"def {name}(" in text, f"{path} has no {name}"
