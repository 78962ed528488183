from collections import defaultdict
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import IntArray
from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, CubeCells
from ensemble_pipeline.forecasting.windows import ALL_SEGMENTS, WINDOW_HOURS, WindowTable, window_sums
from ensemble_pipeline_tests.forecasting.strategies import (
    START_S,
    History,
    Rows,
    cells,
    histories,
    make_cells,
    make_history,
    make_rows,
    rows,
    seeds,
)

FIRST = START_S // 3600
SPAN = np.arange(FIRST - 2, FIRST + 130)
SOME_HOURS = [FIRST - 1, FIRST, FIRST + 1, FIRST + 30, FIRST + 60, FIRST + 61, FIRST + 719, FIRST + 2500]
Key = tuple[int, ...]
Lines = dict[Key, tuple[int, ...]]


def keys_of(table: WindowTable) -> list[Key]:
    columns = (table.as_of_hour, table.window_hours, table.model, table.segment)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def lines(table: WindowTable) -> Lines:
    return dict(zip(keys_of(table), zip(*table.sums.tolist(), strict=True), strict=True))


def direct(given_cells: CubeCells, as_of_hours: list[int], window_hours: tuple[int, ...]) -> Lines:
    """Every window added up by itself, in Python's unbounded integers."""
    keys = [getattr(given_cells, name).tolist() for name in ("hour", "seen_from", "model", "segment")]
    totals: dict[Key, list[int]] = defaultdict(lambda: [0] * len(given_cells.sums))
    for hour, seen_from, model, segment, sums in zip(*keys, given_cells.sums.T.tolist(), strict=True):
        for as_of in set(as_of_hours):
            for length in set(window_hours):
                if as_of - length < hour <= as_of and seen_from <= as_of:
                    for column in (ALL_SEGMENTS, segment):
                        key = (as_of, length, model, column)
                        totals[key] = [a + b for a, b in zip(totals[key], sums, strict=True)]
    return {key: tuple(totals[key]) for key in sorted(totals) if any(totals[key])}


def added(one: Lines, other: Lines) -> Lines:
    """Two tables as the database folds one into the other: sums of equal keys added, what holds nothing left out."""
    nothing = (0,) * len(next(iter([*one.values(), *other.values()]), ()))
    pairs = {key: (one.get(key, nothing), other.get(key, nothing)) for key in one.keys() | other.keys()}
    totals = {key: tuple(a + b for a, b in zip(*pair, strict=True)) for key, pair in pairs.items()}
    return {key: total for key, total in totals.items() if any(total)}


def beside(*parts: CubeCells) -> CubeCells:
    names = [field.name for field in fields(CubeCells)]
    return CubeCells(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names))


def one_cell(hour: int, seen_from: int, n: int = 1, segment: int = 0) -> CubeCells:
    keys = np.array([[hour], [seen_from], [0], [segment]])
    return CubeCells(keys[0], keys[1], keys[2], keys[3], np.array([[n], [7 * n]]))


@settings(max_examples=20)
@given(histories)
def test_window_sums_equal_the_direct_sum_bit_for_bit(history: History) -> None:
    given_cells = history.everything().cells()
    found = lines(window_sums(given_cells, SOME_HOURS))
    assert list(found.items()) == list(direct(given_cells, SOME_HOURS, WINDOW_HOURS).items())


@given(cells, st.lists(st.integers(-2, 60), max_size=8), st.lists(st.integers(1, 90), max_size=4))
def test_window_sums_of_any_cells_equal_the_direct_sum_bit_for_bit(
    given_cells: CubeCells, after_first: list[int], lengths: list[int]
) -> None:
    as_of = [FIRST + hours for hours in after_first]
    found = lines(window_sums(given_cells, as_of, lengths))
    assert list(found.items()) == list(direct(given_cells, as_of, tuple(lengths)).items())


def test_window_sums_are_exact_where_running_sums_overflow() -> None:
    hours = np.arange(10, 20)
    zeros = np.zeros_like(hours)
    given_cells = CubeCells(hours, hours + hours % 2, zeros, zeros, np.full((1, 10), 2**62))
    assert set(window_sums(given_cells, range(10, 22), [1]).sums[0].tolist()) == {2**62}


@settings(max_examples=25)
@given(histories, st.integers(1, 40))
def test_window_sums_do_not_depend_on_how_the_range_is_split(history: History, step: int) -> None:
    given_cells = history.everything().cells()
    whole = lines(window_sums(given_cells, SPAN))
    for size in (1, step, 24):
        parts = [window_sums(given_cells, SPAN[start : start + size]) for start in range(0, len(SPAN), size)]
        assert [line for part in parts for line in lines(part).items()] == list(whole.items())
    by_length = [line for length in WINDOW_HOURS for line in lines(window_sums(given_cells, SPAN, [length])).items()]
    assert sorted(by_length) == list(whole.items())


@given(cells, seeds)
def test_window_sums_do_not_depend_on_the_order_of_cells(given_cells: CubeCells, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(given_cells))
    shuffled = CubeCells(*(getattr(given_cells, field.name)[..., order] for field in fields(CubeCells)))
    assert lines(window_sums(shuffled, SPAN)) == lines(window_sums(given_cells, SPAN))


@settings(max_examples=25)
@given(histories, st.integers(FIRST, FIRST + 120))
def test_window_sums_see_nothing_that_became_known_later(history: History, as_of: int) -> None:
    everything = history.everything()
    known = everything.take(everything.known_at_s <= as_of * 3600)
    assert lines(window_sums(everything.cells(), [as_of])) == lines(window_sums(known.cells(), [as_of]))


@settings(max_examples=25)
@given(histories)
def test_window_sums_as_of_before_a_correction_stay_as_they_were(history: History) -> None:
    before, after = history.first.cells(), history.everything().cells()
    first_seen = -(-int(history.late.known_at_s.min(initial=START_S + 10**7)) // 3600)
    earlier = SPAN[first_seen > SPAN]
    assert lines(window_sums(after, earlier)) == lines(window_sums(before, earlier))


@settings(max_examples=25)
@given(rows, rows, st.integers(0, 40))
def test_window_sums_once_rows_were_taken_back_are_those_of_the_right_rows(kept: Rows, wrong: Rows, delay: int) -> None:
    everything = kept.beside(wrong).beside(wrong.retracted(delay * 3600))
    last = int(everything.known_at_s.max(initial=START_S)) // 3600 + 1
    as_of = np.arange(last, last + 50)
    assert lines(window_sums(everything.cells(), as_of)) == lines(window_sums(kept.cells(), as_of))


@settings(max_examples=25)
@given(histories)
def test_window_sums_where_every_row_taken_back_was_there_hold_a_forecast_in_every_window(history: History) -> None:
    table = window_sums(history.everything().cells(), SPAN)
    assert (table.sums[0] > 0).all()


def test_window_sums_of_rows_that_were_all_taken_back_are_absent_from_that_hour_on() -> None:
    wrong = make_rows(30, seed=8, hours=20)
    hour = wrong.cells().hour
    table = window_sums(wrong.beside(wrong.retracted(30 * 3600)).cells(), SPAN)
    assert set(table.as_of_hour[table.window_hours == 168].tolist()) == set(range(hour.min(), hour.max() + 30))
    assert table.as_of_hour.max() == hour.max() + 29
    assert (table.sums[0] > 0).all()


@settings(max_examples=40)
@given(histories)
def test_window_sums_of_late_rows_added_to_the_old_table_give_the_table_of_all_rows(history: History) -> None:
    old, late = (lines(window_sums(part.cells(), SPAN)) for part in (history.first, history.late))
    assert added(old, late) == lines(window_sums(history.everything().cells(), SPAN))


@given(cells, cells)
def test_window_sums_of_parts_add_up_to_those_of_the_whole(one: CubeCells, other: CubeCells) -> None:
    parts = [lines(window_sums(part, SPAN)) for part in (one, other)]
    assert added(*parts) == lines(window_sums(beside(one, other), SPAN))


def test_window_sums_of_late_rows_hold_windows_that_change_though_their_number_does_not() -> None:
    history = make_history(60, seed=9, is_moved=False)
    table = window_sums(history.late.cells(), SPAN)
    assert (table.sums[0] == 0).any()
    assert (table.sums[0] < 0).any()
    assert table.sums.any(axis=0).all()


@given(cells)
def test_window_sums_over_all_segments_are_the_sum_over_segments(given_cells: CubeCells) -> None:
    table = window_sums(given_cells, SPAN)
    totals: dict[Key, IntArray] = defaultdict(lambda: np.zeros(len(given_cells.sums), dtype=np.int64))
    for key, sums in lines(table).items():
        totals[key[:3]] += np.array(sums) * (1 if key[3] == ALL_SEGMENTS else -1)
    assert not any(total.any() for total in totals.values())


@pytest.mark.parametrize(("as_of", "n"), [(9, 0), (10, 1), (15, 1), (16, 0)])
def test_window_sums_hold_a_cell_from_its_hour_until_the_window_has_passed(as_of: int, n: int) -> None:
    assert len(window_sums(one_cell(10, 10), [as_of], [6])) == 2 * n


@pytest.mark.parametrize(("as_of", "n"), [(9, 0), (10, 0), (12, 0), (13, 1), (15, 1), (16, 0)])
def test_window_sums_hold_a_late_cell_from_the_hour_that_sees_it_until_the_window_of_its_own_hour_has_passed(
    as_of: int, n: int
) -> None:
    assert len(window_sums(one_cell(10, 13), [as_of], [6])) == 2 * n


@pytest.mark.parametrize("length", [1, 2, 3])
def test_window_sums_never_hold_a_cell_that_is_seen_once_its_window_has_passed(length: int) -> None:
    assert len(window_sums(one_cell(10, 13), range(30), [length])) == 0
    assert len(window_sums(beside(one_cell(10, 13), one_cell(14, 14)), [14, 13], [length])) == 2


def test_window_sums_drop_a_taken_back_row_together_with_what_takes_it_back() -> None:
    table = window_sums(beside(one_cell(1, 1), one_cell(1, 10, -1)), range(30), [6, 12, 24])
    assert {length: table.as_of_hour[table.window_hours == length].max() for length in (6, 12, 24)} == {
        6: 6,
        12: 9,
        24: 9,
    }
    assert set(table.sums[0].tolist()) == {1}


def test_window_sums_keep_a_segment_whose_own_rows_cancel_out_of_the_table_only() -> None:
    table = window_sums(beside(one_cell(5, 5), one_cell(5, 6, -1), one_cell(6, 6, segment=3)), [6], [24])
    assert lines(table) == {(6, 24, 0, ALL_SEGMENTS): (1, 7), (6, 24, 0, 3): (1, 7)}


def test_window_sums_of_cells_that_count_no_row_leave_out_those_that_cancel() -> None:
    keys = np.array([5, 6, 6])
    given_cells = CubeCells(keys, keys, keys * 0, keys * 0, np.array([[0, 0, 0], [7, -7, 1]]))
    assert lines(window_sums(given_cells, [6], [1, 2])) == {
        (6, 1, 0, ALL_SEGMENTS): (0, -6),
        (6, 1, 0, 0): (0, -6),
        (6, 2, 0, ALL_SEGMENTS): (0, 1),
        (6, 2, 0, 0): (0, 1),
    }
    cancelling = CubeCells(*(getattr(given_cells, field.name)[..., :2] for field in fields(CubeCells)))
    assert set(window_sums(cancelling, [6], [1, 2]).window_hours.tolist()) == {1}


def test_window_sums_name_models_and_segments_by_the_indices_of_the_cells() -> None:
    table = window_sums(make_cells(300, seed=3), SPAN)
    assert set(table.model.tolist()) == {0, 3, 11}
    assert set(table.segment.tolist()) == {ALL_SEGMENTS, 2, 5}


def test_window_sums_sort_what_is_asked_and_drop_repeats() -> None:
    table = window_sums(make_rows(200, seed=5).cells(), [FIRST + 9, FIRST + 3, FIRST + 9], [24, 1, 24])
    assert keys_of(table) == sorted(set(keys_of(table)))
    assert set(table.as_of_hour.tolist()) == {FIRST + 3, FIRST + 9}


@pytest.mark.parametrize(("as_of", "lengths"), [([], [1]), ([FIRST + 5], []), ([5], [1])])
def test_window_sums_when_nothing_is_asked_or_seen_are_empty(as_of: list[int], lengths: list[int]) -> None:
    table = window_sums(make_rows(50, seed=6).cells(), as_of, lengths)
    assert len(table) == 0
    assert table.sums.shape == (len(SUM_FIELDS), 0)
    assert all(getattr(table, field.name).dtype == np.int64 for field in fields(table))


@pytest.mark.parametrize(
    ("as_of", "lengths", "complaint"),
    [([3, -1], [1], r"as_of_hours\[1\] = -1"), ([3], [1, 0], r"window_hours\[1\] = 0")],
)
def test_window_sums_when_an_hour_is_out_of_range_names_it(
    as_of: list[int], lengths: list[int], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        window_sums(make_rows(5, seed=0).cells(), as_of, lengths)
