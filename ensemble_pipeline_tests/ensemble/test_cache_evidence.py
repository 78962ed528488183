import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import CacheKind
from ensemble_pipeline.ensemble.cache_evidence import (
    ENOUGH,
    HARMFUL,
    UNPROVEN,
    CacheEvidence,
    refusals,
    weigh_evidence,
)
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline.forecasting.betting import evidence_of_mean_below
from ensemble_pipeline.store.database import Row
from ensemble_pipeline_tests.ensemble.parts import policy_of

SAME, SIMILAR = CacheKind.SAME, CacheKind.SIMILAR


NOW = datetime(2026, 3, 1, tzinfo=UTC)
CLOSED = NOW - timedelta(days=1)


def pair(
    kind: str, repeated: float, asked: float, event: str = "E", *, outcome: bool | None = True, **others: Any
) -> Row:
    told = {"snapshot_id": 1, "closes_at": CLOSED, "is_settled": True, **others}
    return {"kind": kind, "p_repeated": repeated, "p_asked": asked, "outcome": outcome, "event_id": event, **told}


def pair_losing(loss: float, event: str, kind: str = "similar", **others: Any) -> Row:
    """A pair whose repeated answer scores so much worse, in Brier points: 0.4 was asked for and YES came true."""
    return pair(kind, 1 - math.sqrt(0.36 + loss), 0.4, event, **others)


def pairs_losing(losses: Sequence[float] | FloatArray, kind: str = "similar") -> list[Row]:
    """Pairs of an event each."""
    return [pair_losing(float(loss), f"E{number}", kind) for number, loss in enumerate(losses)]


def weigh(pairs: Sequence[Row], kind: CacheKind = SIMILAR, **options: Any) -> CacheEvidence:
    return weigh_evidence(pairs, policy_of(cache=options).cache, NOW)[kind]


def alternating(mean: float, spread: float, n: int) -> list[float]:
    return [mean + spread * (-1) ** number for number in range(n)]


def test_without_pairs_the_same_market_is_allowed_and_similar_ones_are_not() -> None:
    assert weigh_evidence([], policy_of().cache, NOW) == {
        SAME: CacheEvidence(SAME, 0, 0, None, 1.0, 1.0, ""),
        SIMILAR: CacheEvidence(SIMILAR, 0, 0, None, 1.0, 1.0, UNPROVEN),
    }


@pytest.mark.parametrize(
    ("pairs", "loss"),
    [
        # (1 - .6)² - (1 - .7)²
        ([pair("similar", 0.6, 0.7)], 0.16 - 0.09),
        # .6² - .7²: here the earlier answer was the better one
        ([pair("similar", 0.6, 0.7, outcome=False)], 0.36 - 0.49),
        ([pair("similar", 0.6, 0.6)], 0.0),
        ([pair("similar", 0.0, 1.0)], 1.0),
        ([pair("similar", 1.0, 0.0)], -1.0),
        ([pair("similar", 0.6, 0.7, "E"), pair("similar", 0.5, 0.8, "F")], (0.07 + (0.25 - 0.04)) / 2),
    ],
)
def test_loss_worked_by_hand(pairs: list[Row], loss: float) -> None:
    found = weigh(pairs)
    assert found.loss == pytest.approx(loss, abs=1e-12)
    assert (found.pairs, found.events) == (len(pairs), len(pairs))
    # so few events show nothing
    assert found.for_use < ENOUGH > found.against_use
    assert found.refusal == UNPROVEN


def test_pairs_of_one_event_count_once() -> None:
    pairs = [pair("similar", 0.6, 0.7, "E"), pair("similar", 0.5, 0.5, "F"), pair("similar", 0.5, 0.8, "E")]
    found = weigh(pairs)
    assert (found.pairs, found.events) == (3, 2)
    assert found.loss == pytest.approx(((0.07 + 0.21) / 2 + 0) / 2)


def test_only_the_first_comparison_of_an_event_counts() -> None:
    losses = alternating(0.01, 0.05, 40)
    before = weigh(pairs_losing(losses))
    later = pair_losing(0.5, "E0", snapshot_id=2)
    assert weigh([*pairs_losing(losses), later]) == before


def test_pairs_count_up_to_the_first_market_that_is_waited_for() -> None:
    closes = [NOW - timedelta(days=days) for days in (120, 91, 90, 2, 1)]
    pairs = [pair_losing(0.1, f"E{n}", closes_at=at) for n, at in enumerate(closes)]
    assert weigh(pairs).pairs == 5
    # nobody waits for ever, nor for a market that counts for nobody
    assert weigh(_unsettled(pairs, 1)).pairs == weigh([*pairs[:3], pairs[3] | {"outcome": None}, pairs[4]]).pairs == 4
    assert weigh(_unsettled(pairs, 2)).pairs == 2
    assert weigh(_unsettled(pairs, 3)).pairs == 3


def test_market_that_settled_before_its_close_counts_once_that_has_come() -> None:
    early = pair_losing(0.1, "E", closes_at=NOW + timedelta(days=1))
    assert weigh([early]).pairs == 0
    assert weigh_evidence([early], policy_of().cache, NOW + timedelta(days=1))[SIMILAR].pairs == 1


def test_answers_too_high_are_not_taken_for_harmless_where_what_comes_true_settles_first() -> None:
    # asked 0.3 and repeated 0.4 on markets of which 3 in 10 come true, within days; the others settle at their close
    draws = np.random.default_rng(1).random(400) < 0.3
    asked_on = [NOW + timedelta(hours=6 * n) for n in range(400)]
    close = timedelta(days=60)

    def known_at(number: int) -> datetime:
        return asked_on[number] + (timedelta(days=2) if draws[number] else close)

    for day in range(0, 160, 5):
        at = NOW + timedelta(days=day)
        rows = [
            pair("similar", 0.4, 0.3, f"E{n}", outcome=bool(draws[n]), closes_at=asked_on[n] + close,
                 is_settled=known_at(n) <= at)
            for n in range(400) if asked_on[n] <= at
        ]  # fmt: skip
        assert weigh_evidence(rows, policy_of().cache, at)[SIMILAR].refusal == UNPROVEN
    assert weigh_evidence(rows, policy_of().cache, at)[SIMILAR].events > 300


def _unsettled(pairs: list[Row], number: int) -> list[Row]:
    return [row | ({"is_settled": False, "outcome": None} if n == number else {}) for n, row in enumerate(pairs)]


def test_loss_once_shown_is_not_forgotten_because_later_answers_lose_nothing() -> None:
    shown = alternating(0.1, 0.01, 60)
    assert weigh(pairs_losing(shown, "same"), SAME).refusal == HARMFUL
    assert weigh(pairs_losing([*shown, *alternating(-0.1, 0.01, 300)], "same"), SAME).refusal == HARMFUL


def test_kinds_are_weighed_apart() -> None:
    pairs = [pair("similar", 0.6, 0.7), pair("same", 0.5, 0.8)]
    assert weigh(pairs).loss == pytest.approx(0.07)
    assert weigh(pairs, SAME).loss == pytest.approx(0.21)
    assert weigh(pairs[:1], SAME).pairs == 0


def test_evidence_is_that_of_the_bets_over_events_in_the_order_of_their_closes() -> None:
    losses = alternating(0.01, 0.05, 40)
    found = weigh(pairs_losing(losses))
    against = max(1.0, *evidence_of_mean_below(np.negative(losses), -0.005))
    assert (found.loss, found.for_use) == pytest.approx((0.01, evidence_of_mean_below(losses, 0.005)[-1]))
    assert found.against_use == pytest.approx(against)
    # a second pair of the first event changes its mean, and not its place
    again = weigh([*pairs_losing(losses), pair_losing(0.0, "E0")])
    assert again.events == 40
    assert again.for_use == pytest.approx(evidence_of_mean_below([losses[0] / 2, *losses[1:]], 0.005)[-1])


def test_same_market_is_refused_only_once_a_loss_above_the_bound_is_shown() -> None:
    losses = alternating(0.05, 0.01, 200)
    evidence = evidence_of_mean_below(np.negative(losses), -0.005)
    enough = int(np.flatnonzero(evidence >= ENOUGH)[0]) + 1
    assert 20 < enough < 200
    assert weigh(pairs_losing(losses[: enough - 1], "same"), SAME).refusal == ""
    assert weigh(pairs_losing(losses[:enough], "same"), SAME).refusal == HARMFUL
    assert weigh(pairs_losing(losses, "same"), SAME, max_brier_loss=0.06).refusal == ""


@pytest.mark.parametrize("losses", [[0.6] * 3, alternating(0.05, 0.3, 30), alternating(-0.05, 0.01, 200)])
def test_same_market_is_allowed_where_a_large_loss_is_not_shown(losses: list[float]) -> None:
    assert weigh(pairs_losing(losses, "same"), SAME).refusal == ""


def test_similar_markets_are_allowed_only_once_a_loss_below_the_bound_is_shown() -> None:
    losses = alternating(0.0, 0.01, 300)
    evidence = evidence_of_mean_below(losses, 0.02)
    enough = int(np.flatnonzero(evidence >= ENOUGH)[0]) + 1
    assert 150 < enough < 200
    assert weigh(pairs_losing(losses[: enough - 1]), max_brier_loss=0.02).refusal == UNPROVEN
    assert weigh(pairs_losing(losses[:enough]), max_brier_loss=0.02).refusal == ""
    assert weigh(pairs_losing(losses)).refusal == UNPROVEN


def test_similar_markets_are_not_allowed_on_fewer_events_than_demanded() -> None:
    better = [-0.3] * 60
    assert weigh(pairs_losing(better[:49])).for_use > ENOUGH
    assert weigh(pairs_losing(better[:49])).refusal == UNPROVEN
    assert weigh(pairs_losing(better[:50])).refusal == ""
    assert weigh(pairs_losing(better[:50]), min_shadow_events=51).refusal == UNPROVEN
    # more pairs of the same events are no more events
    assert weigh(pairs_losing(better[:49]) * 2).refusal == UNPROVEN


@pytest.mark.parametrize("n", [50, 500])
def test_similar_markets_of_large_loss_are_never_allowed(n: int) -> None:
    assert weigh(pairs_losing(alternating(0.02, 0.01, n))).refusal == UNPROVEN


def test_similar_markets_of_small_loss_but_wide_spread_are_not_allowed_yet() -> None:
    assert weigh(pairs_losing(alternating(0.0, 0.2, 100))).refusal == UNPROVEN


def test_evidence_on_one_kind_says_nothing_of_the_other() -> None:
    good, bad = alternating(-0.1, 0.001, 60), alternating(0.1, 0.01, 60)
    options = policy_of().cache
    assert refusals(weigh_evidence(pairs_losing(good, "same"), options, NOW)) == {SAME: "", SIMILAR: UNPROVEN}
    assert refusals(weigh_evidence(pairs_losing(bad, "similar"), options, NOW)) == {SAME: "", SIMILAR: UNPROVEN}
    both = pairs_losing(bad, "same") + pairs_losing(good, "similar")
    assert refusals(weigh_evidence(both, options, NOW)) == {SAME: HARMFUL, SIMILAR: ""}


PROBABILITIES = st.floats(0, 1)


@given(
    st.lists(
        st.builds(
            pair,
            st.sampled_from(CacheKind),
            PROBABILITIES,
            PROBABILITIES,
            st.sampled_from("EFGH"),
            outcome=st.booleans(),
        ),
        max_size=30,
    )
)
def test_any_pairs_give_a_loss_in_bounds_and_never_a_right_to_share_on_few_events(pairs: list[Row]) -> None:
    found = weigh_evidence(pairs, policy_of().cache, NOW)
    assert {kind: it.pairs for kind, it in found.items()} == {
        kind: sum(row["kind"] == kind for row in pairs) for kind in CacheKind
    }
    for it in found.values():
        assert (it.loss is None) == (it.pairs == 0)
        assert it.loss is None or -1 <= it.loss <= 1
        assert it.events == len({row["event_id"] for row in pairs if row["kind"] == it.kind})
    assert refusals(found) == {SAME: "", SIMILAR: UNPROVEN}


# closest together where few events have settled: there a wrong verdict is most likely
LOOKS = (50, 51, 55, 60, 70, 85, 100, 130, 170, 220, 300, 400)


def is_ever_allowed(losses: FloatArray, looks: Sequence[int]) -> bool:
    pairs = pairs_losing(losses)
    return any(weigh(pairs[:look]).refusal == "" for look in looks)


def share_allowed(histories: Sequence[FloatArray], looks: Sequence[int] = LOOKS) -> float:
    return sum(is_ever_allowed(losses, looks) for losses in histories) / len(histories)


def normal_histories(loss: float, n: int, events: int = 400) -> list[FloatArray]:
    return [np.random.default_rng(seed).normal(loss, 0.05, events) for seed in range(n)]


@pytest.mark.slow
def test_markets_that_lose_are_allowed_at_any_look_in_few_histories() -> None:
    assert share_allowed(normal_histories(0.02, 60)) <= 0.05


def test_markets_that_lose_just_as_much_as_is_borne_are_allowed_at_any_look_in_few_histories() -> None:
    assert share_allowed(normal_histories(0.005, 60)) <= 0.05


def test_markets_that_lose_nothing_become_allowed_in_most_histories() -> None:
    assert share_allowed(normal_histories(0.0, 40, 1500), (800, 1100, 1500)) > 0.6


@pytest.mark.parametrize(("chance", "loss"), [(0.02, 0.5), (0.03, 0.4), (0.01, 0.6)])
def test_markets_that_lose_much_but_rarely_are_allowed_at_any_look_in_few_histories(chance: float, loss: float) -> None:
    assert chance * loss > 0.005
    draws = [np.random.default_rng(seed).binomial(1, chance, 400).astype(np.float64) for seed in range(40)]
    assert share_allowed([drawn * loss for drawn in draws]) <= 0.05
