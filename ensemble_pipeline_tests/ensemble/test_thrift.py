"""What selection takes an answer to cost and to gain, from readings made by hand: no database."""

import math
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.ensemble.thrift import Thrift, thrift_scores
from ensemble_pipeline.store.efficiency import CostEfficiency, Efficiency
from ensemble_pipeline_tests.store.rows import NOW

INF = float("inf")


def line_of(model: str, category: str = "*", **changes: Any) -> CostEfficiency:
    """A line of a model that was asked ten times, costs two cents an answer and gains 0.05."""
    fields: dict[str, Any] = {
        "calls": 10,
        "answers": 10,
        "cost_micro_usd": 200_000,
        "cost_per_answer_usd": 0.02,
        "cost_standard_error_usd": 0.001,
        "gain": 0.05,
        "gain_standard_error": 0.01,
        "gain_per_usd": 2.5,
        "low": 1.0,
        "high": 4.0,
    }
    return CostEfficiency(model_id=model, category=category, **(fields | changes))


def thrift_of(*lines: CostEfficiency, share: float = 0.25) -> Thrift:
    return Thrift(Efficiency(1, NOW, 1, share, lines))


def test_scores_by_hand() -> None:
    # those that cost something: 10, 20 and 60, median 20: 10/30, 20/40 and 60/80
    found = thrift_scores({"a": 10.0, "b": 20.0, "c": 60.0, "free": INF})
    assert found == pytest.approx({"a": 1 / 3, "b": 0.5, "c": 0.75, "free": 1.0})


def test_scores_of_an_even_number_are_measured_against_the_mean_of_the_middle_two() -> None:
    # (10 + 30) / 2 = 20
    assert thrift_scores({"a": 10.0, "b": 30.0}) == pytest.approx({"a": 1 / 3, "b": 0.6})


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [({}, {}), ({"a": 7.0}, {"a": 0.5}), ({"a": INF}, {"a": 1.0}), ({"a": INF, "b": INF}, {"a": 1.0, "b": 1.0})],
)
def test_scores_of_one_of_none_and_of_free_ones_alone(
    given_values: dict[str, float], expected: dict[str, float]
) -> None:
    assert thrift_scores(given_values) == expected


buys = st.one_of(st.floats(1e-6, 1e9), st.just(INF))
panels = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), buys, max_size=8)


@given(panels)
def test_scores_lie_between_zero_and_one_keep_the_order_and_free_is_one(gain_per_usd: dict[str, float]) -> None:
    found = thrift_scores(gain_per_usd)
    assert found.keys() == gain_per_usd.keys()
    assert all(0 <= score <= 1 for score in found.values())
    order = sorted(gain_per_usd, key=gain_per_usd.__getitem__)
    scores = [found[name] for name in order]
    assert scores == sorted(scores)
    for name, bought in gain_per_usd.items():
        assert (found[name] == 1) == math.isinf(bought)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=9).filter(lambda values: len(values) % 2 == 1))
def test_score_of_the_median_of_an_odd_number_is_one_half(values: list[float]) -> None:
    found = thrift_scores({str(number): value for number, value in enumerate(values)})
    assert found[str(values.index(median(values)))] == 0.5


@given(panels, st.sampled_from([0.5, 4.0, 1024.0]))
def test_scores_do_not_depend_on_the_unit_of_money(gain_per_usd: dict[str, float], per_unit: float) -> None:
    other = thrift_scores({name: value * per_unit for name, value in gain_per_usd.items()})
    assert other == pytest.approx(thrift_scores(gain_per_usd), rel=1e-12)


def test_scores_of_those_that_cost_something_do_not_depend_on_who_is_free() -> None:
    paid = {"a": 10.0, "b": 20.0, "c": 60.0}
    assert thrift_scores(paid | {"free": INF, "gift": INF}) == thrift_scores(paid) | {"free": 1.0, "gift": 1.0}


def test_cost_is_that_of_the_category_then_of_the_model_then_the_usual_share_of_the_worst_case() -> None:
    thrift = thrift_of(line_of("a"), line_of("a", "Climate", cost_per_answer_usd=0.03))
    assert thrift.expected_cost_usd("a", "Climate", 80_000) == 0.03
    assert thrift.expected_cost_usd("a", "Sports", 80_000) == 0.02
    # a quarter of 8 cents
    assert thrift.expected_cost_usd("b", "Climate", 80_000) == pytest.approx(0.02)


def test_cost_of_a_model_that_never_answered_is_the_usual_share_of_its_worst_case() -> None:
    unknown: dict[str, Any] = {
        "answers": 0,
        "cost_per_answer_usd": None,
        "cost_standard_error_usd": None,
        "gain_per_usd": None,
    }
    thrift = thrift_of(line_of("a", **unknown), share=0.5)
    assert thrift.expected_cost_usd("a", "Climate", 30_000) == pytest.approx(0.015)


def test_cost_without_a_reading_is_the_whole_worst_case() -> None:
    assert Thrift(None).expected_cost_usd("a", "Climate", 30_000) == pytest.approx(0.03)


@pytest.mark.parametrize("thrift", [Thrift(None), thrift_of(line_of("a"))])
def test_cost_of_what_is_free_is_nothing_whatever_it_cost_before(thrift: Thrift) -> None:
    assert thrift.expected_cost_usd("a", "Climate", 0) == 0
    assert thrift.gain_per_usd("a", "Climate", 0) == INF


def test_gain_is_that_of_the_category_then_of_the_model_then_the_mean_of_those_known() -> None:
    lines = (
        line_of("a", gain=0.05),
        line_of("a", "Climate", gain=0.08),
        line_of("b", gain=0.01),
        line_of("c", gain=None),
    )
    thrift = thrift_of(*lines)
    assert thrift.expected_gain("a", "Climate") == 0.08
    assert thrift.expected_gain("a", "Sports") == 0.05
    # (0.05 + 0.01) / 2; lines of categories do not count a model twice
    assert thrift.expected_gain("c", "Climate") == pytest.approx(0.03)
    assert thrift.expected_gain("new", "Climate") == pytest.approx(0.03)


@pytest.mark.parametrize("gain", [0.001, 0.0009, 0.0, -0.2])
def test_gain_of_a_model_no_better_than_the_base_rate_still_lets_its_price_count(gain: float) -> None:
    thrift = thrift_of(line_of("a", gain=gain))
    assert thrift.expected_gain("a", "Climate") == 0.001
    # 0.001 / 0.02
    assert thrift.gain_per_usd("a", "Climate", 80_000) == pytest.approx(0.05)


@pytest.mark.parametrize("thrift", [Thrift(None), thrift_of(), thrift_of(line_of("a", gain=None))])
def test_gain_where_nothing_is_known_of_anybody_is_the_least(thrift: Thrift) -> None:
    assert thrift.expected_gain("a", "Climate") == 0.001


def test_gain_per_usd_by_hand() -> None:
    thrift = thrift_of(line_of("a"), line_of("a", "Climate", gain=0.08, cost_per_answer_usd=0.04))
    # 0.05 / 0.02 over all, 0.08 / 0.04 in the category; unknown: mean gain 0.05 over a quarter of 4 cents
    assert thrift.gain_per_usd("a", "Sports", 80_000) == pytest.approx(2.5)
    assert thrift.gain_per_usd("a", "Climate", 80_000) == pytest.approx(2.0)
    assert thrift.gain_per_usd("new", "Climate", 40_000) == pytest.approx(5.0)


def test_gain_per_usd_without_a_reading_ranks_by_worst_case_alone() -> None:
    thrift = Thrift(None)
    cheap, dear = (thrift.gain_per_usd(name, "Climate", worst) for name, worst in (("a", 10_000), ("b", 40_000)))
    assert (cheap, dear) == pytest.approx((0.1, 0.025))
