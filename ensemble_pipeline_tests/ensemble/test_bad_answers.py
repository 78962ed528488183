"""Whatever members and venue do: each market ends in one recorded decision with its reason, and none of these trades.

Everything here goes over real HTTP through the six steps and is read back from the record.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS, START

FULL: dict[str, Any] = {"member_policy": "all", "market_weight": 0.5}


def say(play: Play, *said: float | None, confidence: float = 0.9) -> None:
    """What each model answers from now on; ``None`` for something that nobody can read."""
    for model, p_yes in zip(MODELS, said, strict=True):
        play.world.answers[model.wire_model] = (
            WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
            if p_yes is None
            else WorldAnswer(p_yes=p_yes, confidence=confidence, cost_usd=Decimal("0.001"))
        )


def nobody(play: Play) -> None:
    say(play, *[None] * 5)


def one_only(play: Play) -> None:
    say(play, 0.9, None, None, None, None)


def all_certain(play: Play) -> None:
    say(play, 1.0, 1.0, 1.0, 1.0, 1.0)


def certain_of_opposites(play: Play) -> None:
    say(play, 0.0, 1.0, 0.0, 1.0, 1.0)


def far_apart(play: Play) -> None:
    say(play, 0.02, 0.98, 0.02, 0.98, 0.98)


def unsure(play: Play) -> None:
    say(play, *[0.9] * 5, confidence=0.3)


def says_what_the_price_says(play: Play) -> None:
    say(play, *[0.41] * 5)


@pytest.mark.parametrize(
    ("members", "reason", "heard"),
    [
        (nobody, "no_answer", 0),
        (one_only, "too_few_answers", 1),
        (all_certain, "certainty", 5),
        (certain_of_opposites, "certainty", 5),
        (far_apart, "disagreement", 5),
        (unsure, "confidence", 5),
        (says_what_the_price_says, "edge", 5),
    ],
)
def test_answers_nobody_should_bet_on_end_in_a_recorded_skip(
    database: Database, monkeypatch: pytest.MonkeyPatch, members: Callable[[Play], None], reason: str, heard: int
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=FULL) as play:
        members(play)
        play.scan()
        assert play.decide(1).reasons == {reason: 1}
        assert_skipped(play, reason, heard)


@pytest.mark.parametrize(
    ("book", "reason"),
    [
        ((None, None), "no_quote"),
        (("0.40", None), "one_sided_book"),
        ((None, "0.42"), "one_sided_book"),
        (("0.42", "0.42"), "crossed_book"),
        (("0.45", "0.42"), "crossed_book"),
    ],
)
def test_book_that_is_gone_or_broken_after_the_answers_ends_in_a_recorded_skip(
    database: Database, monkeypatch: pytest.MonkeyPatch, book: tuple[str | None, str | None], reason: str
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=FULL) as play:
        say(play, *[0.9] * 5)
        play.scan()

        def change() -> None:
            play.clock.advance_to(play.clock.now() + HOUR)
            play.price("A-1", *book)

        size_with(play, change)
        assert_skipped(play, reason, 5)


def test_market_that_closed_while_its_members_were_asked_ends_in_a_recorded_skip(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", closes=30, ensemble=FULL) as play:
        say(play, *[0.9] * 5)
        play.scan()
        size_with(play, lambda: play.clock.advance_to(START + 30 * HOUR))
        assert_skipped(play, "closed_meanwhile", 5)


def test_market_that_is_gone_from_the_venue_after_the_answers_ends_in_a_recorded_skip(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=FULL) as play:
        say(play, *[0.9] * 5)
        play.scan()
        size_with(play, lambda: setattr(play.world, "markets", {}))
        assert_skipped(play, "no_quote", 5)


def test_members_that_all_say_the_same_may_trade(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=FULL) as play:
        say(play, *[0.9] * 5)
        play.scan()
        assert play.decide(1).reasons == {"traded": 1}
        [row] = play.rows("select disagreement_level, uncertainty, side, route from decisions")
        assert (row["disagreement_level"], row["side"]) == (0, "yes")
        assert row["uncertainty"] > 0


def test_single_certain_member_among_others_does_not_stop_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=FULL) as play:
        say(play, 1.0, 0.9, 0.9, 0.9, 0.9)
        play.scan()
        assert play.decide(1).reasons == {"traded": 1}


def size_with(play: Play, meanwhile: Callable[[], object]) -> None:
    """The six steps, with something happening between the answers and the order."""
    context, plans = play.plan(1)
    asyncio.run(decide.consult(play.instance, context, plans))
    opinions = decide.combine(play.instance, context, plans)
    meanwhile()
    made = play.with_venue(lambda venue: decide.size(play.instance, venue, context, plans, opinions))
    decide.record(play.instance, context, made)


def assert_skipped(play: Play, reason: str, heard: int) -> None:
    """One decision on record that ended for this reason after so many answers, and no money moved."""
    [row] = play.rows("select * from decisions")
    assert (row["action"], row["terminal_reason"], row["side"], row["contracts"]) == ("skip", reason, None, None)
    assert row["stake_micro_usd"] == row["fee_micro_usd"] == 0
    assert next(gate["gate"] for gate in row["gates"] if not gate["is_passed"]) == reason
    assert row["reasoning"].endswith(f"ended at {reason}" + ("" if heard else " before anyone was heard"))
    members = play.rows("select p_yes, forecast_id, weight from decision_members")
    assert len(members) == 5
    assert len([it for it in members if it["p_yes"] is not None and it["forecast_id"] is not None]) == heard
    assert sum(it["weight"] for it in members) == pytest.approx(1 if heard else 0)
    assert (row["selected_model"] is None) is (heard == 0)
    assert play.rows("select * from positions") == play.rows("select * from trade_log") == []
