from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.scoring import brier_score, log_loss
from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, CubeCells, build_cells
from ensemble_pipeline_tests.forecasting.strategies import START_S, Rows, corrected_rows, make_rows, rows


def as_dict(cells: CubeCells) -> dict[tuple[int, int, int], tuple[int, ...]]:
    keys = zip(cells.hour.tolist(), cells.model.tolist(), cells.category.tolist(), strict=True)
    sums = zip(*(getattr(cells, name).tolist() for name in SUM_FIELDS), strict=True)
    return dict(zip(keys, sums, strict=True))


def test_build_cells_of_one_row_holds_its_scores() -> None:
    cells = build_cells([7201], [3], [5], [0.7], [1], [0.4], [1500], [820], [1])
    assert [getattr(cells, field.name).item() for field in fields(cells)] == [
        *(3, 3, 5, 1),
        *(90_000_000, 8_100_000, 356_674_944, 1, 700_000_000, 1, 700_000_000, 490_000_000),
        *(1, 90_000_000 - 360_000_000, 72_900_000, 1500, 820),
    ]


def test_build_cells_without_a_market_price_leaves_the_market_out() -> None:
    cells = build_cells([0], [0], [0], [0.7], [1], [float("nan")], [0], [0], [1])
    assert (cells.market_n.item(), cells.brier_minus_market_e9.item(), cells.brier_minus_market_sq_e9.item()) == (
        0,
    ) * 3


@pytest.mark.parametrize(("second", "hour"), [(0, 0), (1, 1), (3599, 1), (3600, 1), (3601, 2)])
def test_build_cells_hour_is_the_first_that_may_see_the_row(second: int, hour: int) -> None:
    assert build_cells([second], [0], [0], [0.7], [1], [0.4], [0], [0], [1]).hour.tolist() == [hour]


@given(corrected_rows)
def test_build_cells_equals_adding_up_row_by_row(given_rows: Rows) -> None:
    expected: dict[tuple[int, int, int], np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for index in range(len(given_rows.sign)):
        single = as_dict(replace(given_rows.take([index]), sign=np.array([1])).cells())
        for key, sums in single.items():
            total = expected.setdefault(key, np.zeros(len(SUM_FIELDS), dtype=np.int64))
            total += np.array(sums) * given_rows.sign[index]
    assert as_dict(given_rows.cells()) == {key: tuple(sums.tolist()) for key, sums in expected.items() if sums.any()}


@given(corrected_rows, st.integers(0, 2**32 - 1))
def test_build_cells_does_not_depend_on_the_order_of_rows(given_rows: Rows, seed: int) -> None:
    shuffled = given_rows.take(np.random.default_rng(seed).permutation(len(given_rows.sign)))
    cells, again = given_rows.cells(), shuffled.cells()
    for field in fields(cells):
        assert getattr(cells, field.name).tolist() == getattr(again, field.name).tolist()


@given(rows, rows)
def test_build_cells_when_rows_are_taken_back_leaves_no_trace(kept: Rows, retracted: Rows) -> None:
    everything = kept.beside(retracted).beside(retracted.retracted())
    assert as_dict(everything.cells()) == as_dict(kept.cells())


def test_build_cells_sorts_by_hour_model_category() -> None:
    cells = make_rows(300, seed=1).cells()
    keys = list(as_dict(cells))
    assert keys == sorted(keys)
    assert len(cells) == len(set(keys))


def test_build_cells_means_are_those_of_the_scores() -> None:
    given_rows = make_rows(1000, seed=2)
    cells = given_rows.cells()
    brier = brier_score(given_rows.p_yes, given_rows.outcome)
    assert cells.brier_e9.sum() / 1e9 == pytest.approx(brier.sum(), abs=1e-6)
    assert cells.brier_sq_e9.sum() / 1e9 == pytest.approx(np.square(brier).sum(), abs=1e-6)
    expected = log_loss(given_rows.p_yes, given_rows.outcome).sum()
    assert cells.log_loss_e9.sum() / 1e9 == pytest.approx(expected, abs=1e-6)


def test_build_cells_difference_to_the_market_is_the_difference_of_both_sums_to_the_unit() -> None:
    given_rows = make_rows(500, seed=3)
    priced = given_rows.take(~np.isnan(given_rows.market_p))
    market = replace(priced, p_yes=priced.market_p).cells()
    difference = priced.cells().brier_e9.sum() - market.brier_e9.sum()
    assert given_rows.cells().brier_minus_market_e9.sum() == difference


def test_build_cells_of_nothing_is_empty() -> None:
    cells = make_rows(0, seed=0).cells()
    assert len(cells) == 0
    assert all(getattr(cells, name).dtype == np.int64 for name in SUM_FIELDS)


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("known_at_s", -1, r"known_at_s\[1\] = -1 is out of range"),
        ("model", 40_000, r"model\[1\] = 40000 is out of range"),
        ("category", -1, r"category\[1\] = -1 is out of range"),
        ("p_yes", 1.5, r"p_yes\[1\] = 1.5 is no probability"),
        ("outcome", 3, r"outcome\[1\] = 3.0 is no outcome"),
        ("market_p", -0.1, r"market_p\[1\] = -0.1 is no probability"),
        ("cost_micro_usd", -5, r"cost_micro_usd\[1\] = -5 is out of range"),
        ("latency_ms", -5, r"latency_ms\[1\] = -5 is out of range"),
        ("sign", 0, r"sign\[1\] = 0 is no sign"),
    ],
)
def test_build_cells_when_a_value_is_out_of_range_names_it(column: str, value: float, complaint: str) -> None:
    given_rows = make_rows(2, seed=0)
    values = getattr(given_rows, column).copy()
    values[1] = value
    with pytest.raises(InputError, match=complaint):
        replace(given_rows, **{column: values}).cells()


@pytest.mark.parametrize("column", [field.name for field in fields(Rows)][1:])
def test_build_cells_when_a_column_is_short_names_it(column: str) -> None:
    given_rows = make_rows(3, seed=0)
    with pytest.raises(InputError, match=column):
        replace(given_rows, **{column: getattr(given_rows, column)[:2]}).cells()


def test_build_cells_when_seconds_are_fractions_refuses() -> None:
    with pytest.raises(InputError, match="known_at_s must be one dimension of integers"):
        replace(make_rows(2, seed=0), known_at_s=np.array([START_S, START_S + 0.5])).cells()


def test_cells_when_a_column_is_no_int64_refuses() -> None:
    cells = make_rows(5, seed=0).cells()
    with pytest.raises(InputError, match=r"latency_ms is float64"):
        replace(cells, latency_ms=cells.latency_ms.astype(np.float64))
