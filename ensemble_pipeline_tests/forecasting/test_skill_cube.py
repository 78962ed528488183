from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import skill_cube
from ensemble_pipeline.forecasting.scoring import brier_score, log_loss
from ensemble_pipeline.forecasting.skill_cube import (
    LAST_HOUR,
    SUM_FIELDS,
    CubeCells,
    hour_seen,
    score_columns,
    sum_cells,
)
from ensemble_pipeline_tests.forecasting.strategies import (
    START_S,
    History,
    Rows,
    histories,
    make_history,
    make_rows,
    rows,
    seeds,
)

Key = tuple[int, int, int, int]


def as_lines(cells: CubeCells) -> list[tuple[Key, tuple[int, ...]]]:
    keys = zip(*(getattr(cells, name).tolist() for name in ("hour", "seen_from", "model", "segment")), strict=True)
    return list(zip(keys, zip(*cells.sums.tolist(), strict=True), strict=True))


def added_row_by_row(given_rows: Rows) -> list[tuple[Key, tuple[int, ...]]]:
    """Every cell by Python's unbounded integers."""
    totals: dict[Key, list[int]] = {}
    unsigned = replace(given_rows, sign=np.ones(len(given_rows), dtype=np.int64)).columns().T.tolist()
    ceilings = ((-(-at // 3600)).tolist() for at in (given_rows.window_at_s, given_rows.known_at_s))
    keys: Iterator[Key] = zip(*ceilings, given_rows.model.tolist(), given_rows.segment.tolist(), strict=True)
    for key, sign, row in zip(keys, given_rows.sign.tolist(), unsigned, strict=True):
        total = totals.setdefault(key, [0] * len(SUM_FIELDS))
        totals[key] = [a + sign * b for a, b in zip(total, row, strict=True)]
    return sorted((key, tuple(total)) for key, total in totals.items() if any(total))


@pytest.mark.parametrize(("second", "hour"), [(0, 0), (1, 1), (3599, 1), (3600, 1), (3601, 2)])
def test_hour_seen_is_the_first_full_hour_that_knows_of_it(second: int, hour: int) -> None:
    assert hour_seen([second]).tolist() == [hour]


def test_hour_seen_holds_to_the_end_of_the_year_9999_and_refuses_what_lies_beyond() -> None:
    assert hour_seen([LAST_HOUR * 3600]).tolist() == [LAST_HOUR]
    with pytest.raises(InputError, match=r"known_at_s\[1\] = 253402300801 is out of range"):
        hour_seen([0, LAST_HOUR * 3600 + 1])


def test_hour_seen_when_seconds_are_fractions_or_negative_refuses_under_the_name_given() -> None:
    with pytest.raises(InputError, match="known_at_s must be one dimension of integers"):
        hour_seen([START_S, START_S + 0.5])
    with pytest.raises(InputError, match=r"window_at_s\[1\] = -1 is out of range"):
        hour_seen([0, -1], "window_at_s")


def test_score_columns_of_one_row_by_hand() -> None:
    columns = score_columns([0.7], [1], [0.4], [1500], [820], [1])
    assert columns[:, 0].tolist() == [
        *(1, 90_000_000, 8_100_000, 356_674_944, 1, 700_000_000, 1, 700_000_000, 490_000_000),
        *(1, 90_000_000 - 360_000_000, 72_900_000, 1500, 820),
    ]


def test_score_columns_without_a_market_price_leave_the_market_out() -> None:
    columns = dict(zip(SUM_FIELDS, score_columns([0.7], [1], [float("nan")], [0], [0], [1]), strict=True))
    assert columns["n"].item() == 1
    assert [columns[name].item() for name in SUM_FIELDS if "market" in name] == [0, 0, 0]


@given(rows)
def test_score_columns_of_a_row_taken_back_are_the_negative_ones(given_rows: Rows) -> None:
    assert (given_rows.retracted().columns() == -given_rows.columns()).all()


def test_score_columns_of_many_rows_are_those_of_each_by_itself() -> None:
    everything = make_history(40, seed=5).everything()
    alone = [everything.take([index]).columns() for index in range(len(everything))]
    assert (np.concatenate(alone, axis=1) == everything.columns()).all()


def test_score_columns_add_up_to_the_scores() -> None:
    given_rows = make_rows(1000, seed=2)
    total = dict(zip(SUM_FIELDS, given_rows.columns().sum(axis=1).tolist(), strict=True))
    brier = brier_score(given_rows.p_yes, given_rows.outcome)
    assert total["n"] == 1000
    assert total["brier_e9"] / 1e9 == pytest.approx(brier.sum(), abs=1e-6)
    assert total["brier_sq_e9"] / 1e9 == pytest.approx(np.square(brier).sum(), abs=1e-6)
    assert total["log_loss_e9"] / 1e9 == pytest.approx(log_loss(given_rows.p_yes, given_rows.outcome).sum(), abs=1e-6)
    assert total["p_e9"] / 1e9 == pytest.approx(given_rows.p_yes.sum(), abs=1e-6)
    assert total["p_sq_e9"] / 1e9 == pytest.approx(np.square(given_rows.p_yes).sum(), abs=1e-6)
    assert total["p_outcome_e9"] / 1e9 == pytest.approx(given_rows.p_yes @ given_rows.outcome, abs=1e-6)
    assert total["outcome"] == given_rows.outcome.sum()
    assert total["cost_micro_usd"] == given_rows.cost_micro_usd.sum()
    assert total["latency_ms"] == given_rows.latency_ms.sum()


def test_score_columns_difference_to_the_market_is_the_difference_of_both_sums_to_the_unit() -> None:
    given_rows = make_rows(500, seed=3)
    priced = given_rows.take(~np.isnan(given_rows.market_p))
    market = replace(priced, p_yes=priced.market_p)
    brier, difference = SUM_FIELDS.index("brier_e9"), SUM_FIELDS.index("brier_minus_market_e9")
    expected = priced.columns()[brier].sum() - market.columns()[brier].sum()
    assert given_rows.columns()[difference].sum() == expected


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("p_yes", 1.5, r"p_yes\[1\] = 1.5 is no probability"),
        ("p_yes", float("nan"), r"p_yes\[1\] = nan is no probability"),
        ("outcome", 3, r"outcome\[1\] = 3.0 is no outcome"),
        ("market_p", -0.1, r"market_p\[1\] = -0.1 is no probability"),
        ("cost_micro_usd", -5, r"cost_micro_usd\[1\] = -5 is out of range"),
        ("latency_ms", 10**12 + 1, r"latency_ms\[1\] = 1000000000001 is out of range"),
        ("sign", 0, r"sign\[1\] = 0 is no sign"),
        ("sign", 2, r"sign\[1\] = 2 is out of range"),
        ("model", 40_000, r"model\[1\] = 40000 is out of range"),
        ("segment", -1, r"segment\[1\] = -1 is out of range"),
        ("known_at_s", START_S - 3600, r"seen_from\[1\] = 488887 lies before the hour"),
        ("window_at_s", -1, r"window_at_s\[1\] = -1 is out of range"),
    ],
)
def test_cells_when_a_value_is_out_of_range_name_it(column: str, value: float, complaint: str) -> None:
    given_rows = make_rows(2, seed=0)
    values = getattr(given_rows, column).copy()
    values[1] = value
    with pytest.raises(InputError, match=complaint):
        replace(given_rows, **{column: values}).cells()


@pytest.mark.parametrize("column", [field.name for field in fields(Rows)])
def test_cells_when_a_column_is_short_name_it_or_what_it_is_held_against(column: str) -> None:
    given_rows = make_rows(3, seed=0)
    name = {"known_at_s": "seen_from", "window_at_s": "seen_from", "p_yes": "outcome"}.get(column, column)
    with pytest.raises(InputError, match=name):
        replace(given_rows, **{column: getattr(given_rows, column)[:2]}).cells()


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (np.ones((5, 1), dtype=np.int64), r"int64\(5, 1\)"),
        (np.ones(2, dtype=np.int64), r"int64\(2,\)"),
        (np.ones((5, 2)), r"float64\(5, 2\)"),
    ],
)
def test_sum_cells_when_columns_do_not_fit_the_rows_refuses(columns: np.ndarray, found: str) -> None:
    with pytest.raises(InputError, match=rf"columns is {found}; it must be int64 over \(2,\) rows"):
        sum_cells([1, 2], [1, 2], [0, 0], [0, 0], columns)


@pytest.mark.parametrize("hour", [-1, LAST_HOUR + 1])
def test_sum_cells_when_an_hour_is_out_of_range_names_it(hour: int) -> None:
    with pytest.raises(InputError, match=rf"hour\[0\] = {hour} is out of range"):
        sum_cells([hour], [5], [0], [0], np.array([[1]]))
    with pytest.raises(InputError, match=rf"seen_from\[0\] = {hour} is out of range"):
        sum_cells([5], [hour], [0], [0], np.array([[1]]))


@given(histories)
def test_sum_cells_equals_adding_up_row_by_row(history: History) -> None:
    everything = history.everything()
    assert as_lines(everything.cells()) == added_row_by_row(everything)


@given(histories, seeds)
def test_sum_cells_does_not_depend_on_the_order_of_rows(history: History, seed: int) -> None:
    everything = history.everything()
    shuffled = everything.take(np.random.default_rng(seed).permutation(len(everything)))
    assert as_lines(shuffled.cells()) == as_lines(everything.cells())


@given(histories, histories)
def test_sum_cells_when_rows_are_taken_back_at_once_leaves_no_trace(kept: History, retracted: History) -> None:
    gone = retracted.everything()
    everything = kept.everything().beside(gone).beside(gone.retracted())
    assert as_lines(everything.cells()) == as_lines(kept.everything().cells())


@given(rows, st.integers(1, 1000))
def test_sum_cells_when_rows_are_taken_back_later_keeps_both_in_one_hour(given_rows: Rows, delay: int) -> None:
    cells = given_rows.beside(given_rows.retracted(delay * 3600)).cells()
    kept = as_lines(given_rows.cells())
    undone = [((hour, hour + delay, *key), tuple(-total for total in sums)) for (hour, _, *key), sums in kept]
    assert as_lines(cells) == sorted([*kept, *undone])


def test_sum_cells_keeps_a_cell_whose_rows_cancel_in_number_only() -> None:
    right = make_rows(1, seed=0)
    wrong = replace(right, outcome=1 - right.outcome)
    cells = right.beside(wrong.retracted()).cells()
    assert cells.sums[0].tolist() == [0]
    assert cells.sums.any()


def test_sum_cells_sorts_by_hour_seen_from_model_segment_and_repeats_no_key() -> None:
    keys = [key for key, _ in as_lines(make_history(300, seed=1).everything().cells())]
    assert keys == sorted(set(keys))


@given(histories, st.integers(0, 3))
def test_sum_cells_of_hours_close_together_and_far_apart_agrees_to_the_bit(history: History, spread: int) -> None:
    everything = history.everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skill_cube, "_SMALL_SPAN", -(10**9))
        assert as_lines(everything.cells()) == added_row_by_row(everything)
    far = replace(
        everything,
        window_at_s=everything.window_at_s % 3 * 10 ** (spread + 6) + everything.window_at_s,
        known_at_s=everything.known_at_s + 3 * 10 ** (spread + 6),
        model=everything.model * 10_000,
        segment=everything.segment * 10_000,
    )
    assert as_lines(far.cells()) == added_row_by_row(far)


def test_sum_cells_at_the_ends_of_every_range_holds_them_apart() -> None:
    keys = [(h, h + d, m, s) for h in (0, 1) for d in (0, LAST_HOUR - 1) for m in (0, 32767) for s in (0, 32767)]
    hour, seen_from, model, segment = np.array(keys).T
    cells = sum_cells(hour, seen_from, model, segment, np.arange(1, 17)[None])
    assert as_lines(cells) == [(key, (n,)) for n, key in enumerate(keys, 1)]


@pytest.mark.parametrize("n_fields", [1, 5])
def test_sum_cells_takes_any_number_of_fields(n_fields: int) -> None:
    columns = np.arange(3 * n_fields).reshape(n_fields, 3) + 1
    cells = sum_cells([7, 7, 8], [7, 7, 8], [0, 0, 0], [1, 1, 1], columns)
    assert cells.sums.tolist() == np.stack((columns[:, 0] + columns[:, 1], columns[:, 2]), axis=1).tolist()


def test_sum_cells_leaves_what_it_was_given_as_it_was() -> None:
    given_rows = make_history(50, seed=4).everything()
    hours, columns = hour_seen(given_rows.window_at_s), given_rows.columns()
    before = hours.copy(), given_rows.model.copy(), columns.copy()
    sum_cells(hours, hours, given_rows.model, given_rows.segment, columns)
    assert all((a == b).all() for a, b in zip(before, (hours, given_rows.model, columns), strict=True))


def test_sum_cells_of_nothing_is_empty() -> None:
    cells = make_rows(0, seed=0).cells()
    assert len(cells) == 0
    assert cells.sums.shape == (len(SUM_FIELDS), 0)
    assert all(getattr(cells, field.name).dtype == np.int64 for field in fields(cells))


@pytest.mark.parametrize("column", ["model", "sums"])
def test_cells_when_a_column_is_no_int64_or_short_refuse(column: str) -> None:
    cells = make_rows(5, seed=0).cells()
    values = getattr(cells, column)
    with pytest.raises(InputError, match=rf"{column} is float64"):
        replace(cells, **{column: values.astype(np.float64)})
    with pytest.raises(InputError, match=rf"{column} is int64\(.*\); it must be int64 over \(5,\) cells"):
        replace(cells, **{column: values[..., :4]})
