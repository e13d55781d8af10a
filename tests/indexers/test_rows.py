"""Row numbers and their positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiver.errors import BadData
from quiver.indexers._rows import Recent, RowMap

numbers = st.lists(st.integers(-50, 2**40) | st.integers(0, 30), unique=True, max_size=40)


@given(rows=numbers, wanted=numbers)
def test_rows_held_are_found_where_they_stand(rows: list[int], wanted: list[int]) -> None:
    found = RowMap.of(np.array(rows, np.int64)).locate(np.array(wanted, np.int64))
    assert found.tolist() == [rows.index(row) for row in wanted if row in rows]


@given(first=st.integers(-5, 5), n=st.integers(0, 20), wanted=numbers)
def test_rows_without_gaps_are_found_too(first: int, n: int, wanted: list[int]) -> None:
    found = RowMap.of(np.arange(first, first + n)).locate(np.array(wanted, np.int64))
    assert found.tolist() == [row - first for row in wanted if first <= row < first + n]


def test_a_row_that_is_demanded_must_be_held() -> None:
    held = RowMap.of(np.array([9, 4, 7]))
    assert held.demand(np.array([4, 4, 9])).tolist() == [1, 1, 0]
    with pytest.raises(BadData, match="row 5 is not"):
        held.demand(np.array([9, 5]))


@given(rows=numbers, allowed=numbers)
def test_positions_of_allowed_rows_ascend_and_all_of_them_are_none(rows: list[int], allowed: list[int]) -> None:
    found = RowMap.of(np.array(rows, np.int64)).among(np.array(sorted(allowed), np.int64))
    wanted = sorted(rows.index(row) for row in allowed if row in rows)
    assert (found is None) if len(wanted) == len(rows) else (found is not None and found.tolist() == wanted)


@given(order=st.permutations(range(3, 15)), allowed=st.lists(st.integers(0, 20), unique=True))
def test_so_do_those_of_rows_without_gaps(order: list[int], allowed: list[int]) -> None:
    found = RowMap.of(np.array(order)).among(np.array(sorted(allowed), np.int64))
    wanted = sorted(order.index(row) for row in allowed if row in order)
    assert (found is None) if len(wanted) == len(order) else (found is not None and found.tolist() == wanted)


def test_only_what_was_made_of_an_array_that_nobody_writes_to_is_remembered() -> None:
    last, rows = Recent[list[int]](), np.array([3, 5])
    assert last.of(rows, np.ndarray.tolist) is not last.of(rows, np.ndarray.tolist)
    rows.flags.writeable = False
    first = last.of(rows, np.ndarray.tolist)
    assert last.of(rows, np.ndarray.tolist) is first == [3, 5]
    assert last.of(rows[:1], np.ndarray.tolist) == [3] and last.of(rows, np.ndarray.tolist) is first
    assert last.of(rows.copy(), np.ndarray.tolist) is not first
    rows.flags.writeable = True
    rows[0] = 1
    assert last.of(rows, np.ndarray.tolist) == [1, 5]


def test_several_arrays_are_remembered_as_long_as_there_is_room() -> None:
    recent, every = Recent[np.ndarray](room=100), [np.full(3, n) for n in range(4)]
    for rows in every:
        rows.flags.writeable = False
    made = [recent.of(rows, np.copy) for rows in every]  # each takes 2 x 24 bytes
    assert recent.nbytes == 96
    again = [recent.of(rows, np.copy) is old for rows, old in zip(every[::-1], made[::-1], strict=True)]
    assert again == [True, True, False, False]
    large = np.arange(100)
    large.flags.writeable = False
    assert recent.of(large, np.copy) is recent.of(large, np.copy) and recent.nbytes == 1600
