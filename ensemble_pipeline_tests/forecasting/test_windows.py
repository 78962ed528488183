from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, CubeCells, build_cells
from ensemble_pipeline.forecasting.windows import ALL_CATEGORIES, WINDOW_HOURS, WindowTable, window_sums
from ensemble_pipeline_tests.forecasting.strategies import START_S, Rows, corrected_rows, make_rows, rows

FIRST = START_S // 3600
SPAN = np.arange(FIRST - 2, FIRST + 100)
Line = tuple[tuple[int, int, int, int], tuple[int, ...]]


def lines(table: WindowTable) -> list[Line]:
    keys = zip(*(getattr(table, field.name).tolist() for field in fields(table)[:4]), strict=True)
    return [(key, tuple(sums)) for key, sums in zip(keys, table.sums.tolist(), strict=True)]


def direct(cells: CubeCells, as_of_hours: list[int], window_hours: tuple[int, ...]) -> list[Line]:
    """Every window added up by itself, in Python's unbounded integers."""
    found: list[Line] = []
    columns = [getattr(cells, name).tolist() for name in SUM_FIELDS]
    for as_of in as_of_hours:
        for length in window_hours:
            totals: dict[tuple[int, int], list[int]] = {}
            for index, hour in enumerate(cells.hour.tolist()):
                if as_of - length < hour <= as_of:
                    for category in (ALL_CATEGORIES, cells.category.tolist()[index]):
                        total = totals.setdefault((cells.model.tolist()[index], category), [0] * len(SUM_FIELDS))
                        totals[cells.model.tolist()[index], category] = [
                            a + column[index] for a, column in zip(total, columns, strict=True)
                        ]
            found.extend(((as_of, length, *key), tuple(totals[key])) for key in sorted(totals) if totals[key][0] > 0)
    return found


@settings(max_examples=40)
@given(corrected_rows)
def test_window_sums_equal_the_direct_sum_bit_for_bit(given_rows: Rows) -> None:
    cells = given_rows.cells()
    as_of = [FIRST - 1, FIRST, FIRST + 1, FIRST + 30, FIRST + 60, FIRST + 61, FIRST + 1000]
    assert lines(window_sums(cells, as_of)) == direct(cells, as_of, WINDOW_HOURS)


@settings(max_examples=25)
@given(rows, st.integers(1, 40))
def test_window_sums_do_not_depend_on_how_the_range_is_split(given_rows: Rows, step: int) -> None:
    cells = given_rows.cells()
    whole = lines(window_sums(cells, SPAN))
    for size in (1, step, 24):
        parts = [window_sums(cells, SPAN[start : start + size]) for start in range(0, len(SPAN), size)]
        assert [line for part in parts for line in lines(part)] == whole
    by_length = [line for length in WINDOW_HOURS for line in lines(window_sums(cells, SPAN, [length]))]
    assert sorted(by_length) == whole


@settings(max_examples=25)
@given(rows, st.integers(FIRST, FIRST + 60))
def test_window_sums_see_nothing_that_became_known_later(given_rows: Rows, as_of: int) -> None:
    known = given_rows.take(given_rows.known_at_s <= as_of * 3600)
    assert lines(window_sums(given_rows.cells(), [as_of])) == lines(window_sums(known.cells(), [as_of]))


@settings(max_examples=25)
@given(rows, rows)
def test_window_sums_of_corrected_cells_are_those_of_the_right_rows(kept: Rows, retracted: Rows) -> None:
    wrong, undone = retracted.cells(), retracted.retracted().cells()
    names = [field.name for field in fields(CubeCells)]
    parts = (kept.cells(), wrong, undone)
    together = CubeCells(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    assert lines(window_sums(together, SPAN)) == lines(window_sums(kept.cells(), SPAN))


def test_window_sums_all_categories_is_the_sum_over_categories() -> None:
    table = window_sums(make_rows(2000, seed=4).cells(), SPAN)
    is_all = table.category == ALL_CATEGORIES
    assert table.sums[is_all].sum(axis=0).tolist() == table.sums[~is_all].sum(axis=0).tolist()


@pytest.mark.parametrize(("as_of", "n"), [(9, 0), (10, 1), (15, 1), (16, 0)])
def test_window_sums_hold_a_cell_from_its_hour_until_the_window_has_passed(as_of: int, n: int) -> None:
    cells = build_cells([36_000], [0], [0], [0.7], [1], [0.4], [0], [0], [1])
    assert len(window_sums(cells, [as_of], [6])) == 2 * n


def test_window_sums_when_a_row_is_taken_back_later_leave_out_windows_that_hold_only_the_correction() -> None:
    cells = build_cells([3600, 36_000], [0, 0], [0, 0], [0.7, 0.7], [1, 1], [0.4, 0.4], [0, 0], [0, 0], [1, -1])
    table = window_sums(cells, [5, 10], [6, 24])
    assert set(table.as_of_hour.tolist()) == {5}


def test_window_sums_sort_what_is_asked_and_drop_repeats() -> None:
    cells = make_rows(200, seed=5).cells()
    table = window_sums(cells, [FIRST + 9, FIRST + 3, FIRST + 9], [24, 1, 24])
    keys = [key for key, _ in lines(table)]
    assert keys == sorted(set(keys))
    assert set(table.as_of_hour.tolist()) == {FIRST + 3, FIRST + 9}


@pytest.mark.parametrize(("as_of", "lengths"), [([], [1]), ([FIRST + 5], []), ([5], [1])])
def test_window_sums_when_nothing_is_asked_or_seen_are_empty(as_of: list[int], lengths: list[int]) -> None:
    table = window_sums(make_rows(50, seed=6).cells(), as_of, lengths)
    assert len(table) == 0
    assert table.sums.shape == (0, len(SUM_FIELDS))


@pytest.mark.parametrize(
    ("as_of", "lengths", "complaint"),
    [([3, -1], [1], r"as_of_hours\[1\] = -1"), ([3], [1, 0], r"window_hours\[1\] = 0")],
)
def test_window_sums_when_an_hour_is_out_of_range_names_it(
    as_of: list[int], lengths: list[int], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        window_sums(make_rows(5, seed=0).cells(), as_of, lengths)
