"""The table of modes: what it says, that a worse mode never allows more, and that the ways out are always open."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ensemble_pipeline.domain import Mode
from ensemble_pipeline.ensemble.modes import Row, Step, row_of, table
from ensemble_pipeline.settings import ModeSettings

OUT = {Step.REDUCE, Step.EXIT, Step.SETTLE}
SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@pytest.mark.parametrize(
    ("mode", "steps", "stake", "confidence", "positions", "single", "hours"),
    [
        ("normal", {Step.OPEN, Step.INCREASE}, 1.0, 0.0, None, False, 0),
        ("degraded", {Step.OPEN, Step.INCREASE}, 0.75, 0.05, None, False, 0),
        ("conservative", {Step.OPEN}, 0.5, 0.1, 10, False, 24),
        ("minimal", {Step.OPEN}, 0.25, 0.1, 1, True, 24),
        ("suspended", set(), 0.0, 0.1, 0, False, 0),
    ],
)
def test_each_mode_allows_what_is_written_of_it(
    mode: str, steps: set[Step], stake: float, confidence: float, positions: int | None, single: bool, hours: float
) -> None:
    row = row_of(mode, ModeSettings())
    assert row.steps == steps | OUT
    assert (row.stake_share, row.extra_confidence, row.max_positions) == (stake, confidence, positions)
    assert (row.is_single, row.earlier_hours) == (single, hours)
    assert row.earlier_confidence_share == (0.8 if hours else 1.0)
    assert row.takes_risk is bool(steps)


def test_table_has_every_mode_once_in_the_order_of_severity() -> None:
    assert [row.mode for row in table(ModeSettings())] == list(Mode)
    assert [mode.severity for mode in Mode] == [0, 1, 2, 3, 4]
    assert Mode.MINIMAL.and_worse == (Mode.MINIMAL, Mode.SUSPENDED)


def test_mode_that_nobody_wrote_of_allows_nothing() -> None:
    with pytest.raises(ValueError, match="panic"):
        row_of("panic", ModeSettings())


def settings(**given_: Any) -> ModeSettings:
    return ModeSettings.model_validate(given_)


@given(
    stakes=SHARES,
    confidences=SHARES,
    positions=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    hours=st.floats(0, 24),
)
def test_worse_mode_never_allows_more_whatever_the_settings(
    stakes: list[float], confidences: list[float], positions: tuple[int, int], hours: float
) -> None:
    names = ("degraded", "conservative", "minimal")
    rows = table(
        settings(
            **{f"{name}_stake_share": it for name, it in zip(names, sorted(stakes, reverse=True), strict=True)},
            **{f"{name}_extra_confidence": it for name, it in zip(names, sorted(confidences), strict=True)},
            conservative_positions=max(positions),
            minimal_positions=min(positions),
            earlier_hours=hours,
        )
    )
    for better, worse in pairwise(rows):
        assert worse.steps <= better.steps
        assert worse.stake_share <= better.stake_share
        assert worse.extra_confidence >= better.extra_confidence
        assert bound(worse) <= bound(better)
        assert worse.earlier_confidence_share <= 1
    for row in rows:
        assert row.steps >= OUT
        assert row.earlier_hours <= 24


def bound(row: Row) -> float:
    return float("inf") if row.max_positions is None else row.max_positions


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"conservative_stake_share": 0.2}, "CONSERVATIVE_STAKE_SHARE"),
        ({"degraded_extra_confidence": 0.3}, "DEGRADED_EXTRA_CONFIDENCE"),
        ({"minimal_positions": 11}, "MINIMAL_POSITIONS"),
        ({"minimal_positions": "unlimited"}, "MINIMAL_POSITIONS"),
        ({"conservative_below_available": 0.9}, "CONSERVATIVE_BELOW_AVAILABLE"),
        ({"degraded_below_success": 0.4}, "DEGRADED_BELOW_SUCCESS"),
        ({"earlier_hours": 24.1}, "earlier_hours"),
        ({"earlier_confidence_share": 1.1}, "earlier_confidence_share"),
    ],
)
def test_settings_by_which_a_worse_mode_would_allow_more_are_refused(given_: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        settings(**given_)


def test_positions_of_a_mode_may_be_left_to_the_usual_limits() -> None:
    options = settings(conservative_positions="unlimited", minimal_positions="unlimited")
    assert row_of("minimal", options).max_positions is None
    assert row_of("suspended", options).max_positions == 0
