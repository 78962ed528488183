"""Which mode the evidence calls for, and that a mode worsens at once and softens only by what has held."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Mode
from ensemble_pipeline.ensemble.mode_evidence import ALL_WELL, ByEvidence, Readings, Wanted, reviewed, wanted_mode
from ensemble_pipeline.settings import ModeSettings
from ensemble_pipeline_tests.store.rows import NOW

MINUTE = timedelta(minutes=1)
OPTIONS = ModeSettings()
MODES = st.sampled_from(list(Mode))
HELD = timedelta(minutes=OPTIONS.recovery_minutes)


def wanted(enabled: int = 5, available: int = 5, **readings: Any) -> Wanted:
    return wanted_mode(Readings(enabled, available, **readings), OPTIONS)


@pytest.mark.parametrize(
    ("enabled", "available", "mode"),
    [
        (5, 5, "normal"),
        (5, 4, "normal"),
        (5, 3, "degraded"),
        (5, 2, "conservative"),
        (5, 1, "minimal"),
        (5, 0, "minimal"),
        (4, 3, "normal"),
        (4, 2, "degraded"),
        (3, 2, "degraded"),
        (3, 1, "minimal"),
        (2, 1, "minimal"),
        (1, 1, "normal"),
        (1, 0, "minimal"),
        (0, 0, "normal"),
    ],
)
def test_mode_follows_how_many_models_are_available(enabled: int, available: int, mode: str) -> None:
    found = wanted(enabled, available)
    assert found.mode == mode
    assert found.cause == (ALL_WELL if mode == "normal" else f"{available} of {enabled} models are available")


@pytest.mark.parametrize(
    ("calls", "failures", "mode"),
    [
        (19, 19, "normal"),
        (20, 4, "normal"),
        (20, 5, "degraded"),
        (20, 10, "degraded"),
        (20, 11, "conservative"),
        (100, 100, "conservative"),
    ],
)
def test_mode_follows_how_many_recent_calls_were_answered(calls: int, failures: int, mode: str) -> None:
    found = wanted(calls=calls, failures=failures)
    assert found.mode == mode
    if mode != "normal":
        assert found.cause == f"{calls - failures} of {calls} calls of the last 60 minutes were answered"


@pytest.mark.parametrize(("silent", "mode"), [(None, "normal"), (119.9, "normal"), (120.0, "conservative")])
def test_venue_that_is_silent_for_long_calls_for_care(silent: float | None, mode: str) -> None:
    assert wanted(venue_silent_minutes=silent).mode == mode


def test_ledger_that_does_not_come_out_even_stops_new_risk() -> None:
    assert wanted(is_ledger_off=True).mode is Mode.SUSPENDED


def test_worst_of_several_counts_and_all_of_its_kind_are_named() -> None:
    found = wanted(5, 2, calls=20, failures=20, venue_silent_minutes=130)
    assert found.mode is Mode.CONSERVATIVE
    assert found.cause.split("; ") == [
        "2 of 5 models are available",
        "0 of 20 calls of the last 60 minutes were answered",
        "the venue has told nothing for 130 minutes",
    ]
    assert wanted(5, 2, is_ledger_off=True).cause == "the ledger's accounts differ from what was booked on them"


@given(
    enabled=st.integers(1, 9),
    lost=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    failures=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_worse_evidence_never_calls_for_a_softer_mode(
    enabled: int, lost: tuple[int, int], failures: tuple[int, int]
) -> None:
    few, many = (max(0, enabled - it) for it in sorted(lost))
    better, worse = (
        wanted(enabled, available, calls=40, failures=failed)
        for available, failed in zip((few, many), sorted(failures), strict=True)
    )
    assert worse.mode.severity >= better.mode.severity


def mode_at(mode: Mode = Mode.NORMAL, **changes: Any) -> ByEvidence:
    return ByEvidence(mode, "drill", NOW, **changes)


def play(present: ByEvidence, looks: list[tuple[float, Mode]], options: ModeSettings = OPTIONS) -> list[ByEvidence]:
    """What is in force after each look: so many minutes from the start, and what the evidence calls for then."""
    found = []
    for minutes, mode in looks:
        present = reviewed(present, Wanted(mode, f"calls for {mode}"), NOW + minutes * MINUTE, options)
        found.append(present)
    return found


@given(MODES, MODES)
def test_mode_worsens_at_once_and_straight(before: Mode, called_for: Mode) -> None:
    after = reviewed(mode_at(before), Wanted(called_for, "why"), NOW + MINUTE, OPTIONS)
    if called_for.severity > before.severity:
        assert after == ByEvidence(called_for, "why", NOW + MINUTE)
    else:
        assert after.mode is before


def test_mode_softens_by_one_level_each_time_the_evidence_has_been_better_for_long_enough() -> None:
    minutes = [1, 15.9, 16, 30.9, 31, 46, 60]
    found = play(mode_at(Mode.MINIMAL), [(it, Mode.NORMAL) for it in minutes])
    assert [it.mode for it in found] == [
        "minimal", "minimal", "conservative", "conservative", "degraded", "normal", "normal"
    ]  # fmt: skip
    assert found[2].cause == "minimal has not been called for since 2026-03-02 12:31: calls for normal"
    assert (found[-1].since, found[-1].better_since) == (NOW + 46 * MINUTE, None)


def test_mode_stays_at_what_the_evidence_still_calls_for() -> None:
    found = play(mode_at(Mode.SUSPENDED), [(it, Mode.CONSERVATIVE) for it in range(0, 300, 5)])
    assert [it.mode for it in found][-1] is Mode.CONSERVATIVE
    assert found[-1].better_since is None


def test_wait_begins_at_the_first_better_look_and_what_returns_after_a_long_gap_is_one_level() -> None:
    looks = [(minutes, Mode.NORMAL) for minutes in (600.0, 1200.0, 1214.0)]
    assert [it.mode for it in play(mode_at(Mode.MINIMAL), looks)] == ["minimal", "conservative", "conservative"]


def test_evidence_that_gets_worse_in_between_begins_the_wait_anew() -> None:
    looks = [(0, Mode.NORMAL), (14, Mode.NORMAL), (14.5, Mode.DEGRADED), (15, Mode.NORMAL), (29, Mode.NORMAL)]
    assert {it.mode for it in play(mode_at(Mode.DEGRADED), looks)} == {Mode.DEGRADED}
    assert play(mode_at(Mode.DEGRADED), [*looks, (30, Mode.NORMAL)])[-1].mode is Mode.NORMAL


@given(worse=st.sampled_from(list(Mode)[1:]), gaps=st.lists(st.floats(0.01, 14.9), min_size=2, max_size=60))
def test_evidence_that_swings_faster_than_the_wait_never_makes_the_mode_flap(worse: Mode, gaps: list[float]) -> None:
    at, looks = 0.0, []
    for number, gap in enumerate(gaps):
        looks.append((at, Mode.NORMAL if number % 2 else worse))
        at += gap
    assert {it.mode for it in play(mode_at(), looks)} == {worse}


@given(st.lists(st.tuples(st.floats(0, 60), MODES), max_size=40), MODES)
def test_whatever_the_evidence_a_mode_never_softens_faster_than_one_level_a_wait(
    steps: list[tuple[float, Mode]], start: Mode
) -> None:
    at, looks = 0.0, []
    for gap, mode in steps:
        at += gap
        looks.append((at, mode))
    found = [mode_at(start), *play(mode_at(start), looks)]
    for before, after in pairwise(found):
        assert after.mode.severity >= before.mode.severity - 1
    changes = [it for before, it in pairwise(found) if it.mode is not before.mode]
    for before, after in pairwise([found[0], *changes]):
        if after.mode.severity < before.mode.severity:
            assert after.since - before.since >= HELD
    # and it is never softer than what is called for at that look
    assert all(it.mode.severity >= called_for.severity for it, (_, called_for) in zip(found[1:], looks, strict=True))


@given(MODES, MODES, st.floats(-60, 60))
def test_look_by_a_clock_that_is_behind_begins_no_wait_before_the_mode(
    before: Mode, called_for: Mode, minutes: float
) -> None:
    [after] = play(mode_at(before), [(minutes, called_for)])
    assert after.since >= NOW
    assert after.better_since is None or after.better_since >= after.since


def test_wait_of_nothing_softens_at_the_first_better_look() -> None:
    options = ModeSettings(recovery_minutes=0)
    assert play(mode_at(Mode.DEGRADED), [(0, Mode.NORMAL)], options)[0].mode is Mode.NORMAL
