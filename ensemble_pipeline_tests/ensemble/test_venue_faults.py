"""Pages that contradict themselves, each other or the truth: no market is lost for good, nothing counts twice."""

from dataclasses import replace

import pytest

from ensemble_pipeline.errors import VenueError
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.venues.kalshi import client
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START

EAGER = {"member_policy": "all", "market_weight": 0.5}
TICKERS = tuple(f"E{number}-1" for number in range(5))
REPEATING = ("rows_twice", "page_again")
SKIPPING = ("rows_skipped", "page_skipped")


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "EVENTS_PER_PAGE", 2)
    monkeypatch.setattr(client, "TICKERS_PER_CALL", 2)


def decided(play: Play) -> list[str]:
    """The market of each decision."""
    return [it["market_id"] for it in play.rows("select market_id from decisions order by market_id")]


def decide_all(play: Play) -> None:
    for row in play.rows("select distinct batch_id from decision_requests order by 1"):
        play.decide(row["batch_id"])


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("kind", [*REPEATING, *SKIPPING])
def test_every_market_is_decided_once_whatever_pages_repeat_and_skip(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with playing(database, monkeypatch, *TICKERS, ensemble=EAGER) as play:
        # of the three pages of the first look two are struck
        play.fault("kalshi", kind, count=2, after=1, path="/events")
        first = play.scan()
        assert (first.seen == len(TICKERS)) is (kind in REPEATING)
        second = play.scan()
        assert (second.seen, first.due + second.due) == (5, 5)
        decide_all(play)
        assert decided(play) == [f"kalshi:{it}" for it in TICKERS]
        assert play.rows("select count(*) as n from positions") == [{"n": 5}]


@pytest.mark.usefixtures("small_pages")
def test_cursor_that_comes_back_ends_the_look_and_the_next_one_sees_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, *TICKERS) as play:
        play.fault("kalshi", "cursor_again", after=2, path="/events")
        with pytest.raises(VenueError, match="circle"):
            play.scan()
        assert play.rows("select 1 from markets") == []
        assert play.scan().due == 5


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("kind", [*REPEATING, *SKIPPING])
def test_every_settlement_is_paid_once_whatever_pages_repeat_and_skip(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with playing(database, monkeypatch, *TICKERS, closes=4, settles=5, ensemble=EAGER) as play:
        play.scan()
        decide_all(play)
        play.clock.advance_to(START + 5 * HOUR)
        play.fault("kalshi", kind, count=2, after=1, path="/markets")
        first = play.bring()
        assert (len(first.market_ids) == 5) is (kind in REPEATING)
        second = play.bring()
        assert len(first.market_ids) + len(second.market_ids) == 5
        assert_paid_in_full(play, versions=1)


def assert_paid_in_full(play: Play, versions: int) -> None:
    """All positions are on YES, which is what everything settles to."""
    assert {it["v"] for it in play.rows("select max(version) as v from resolutions group by market_id")} == {versions}
    [money] = play.rows(
        "select sum(contracts)::bigint * 1000000 as due, sum(payout_micro_usd)::bigint as paid,"
        " sum(cost_micro_usd + fee_micro_usd)::bigint as spent from positions"
    )
    assert money["paid"] == money["due"]
    assert play.rows("select sum(cash_micro_usd)::bigint as n from trade_log") == [{"n": money["due"] - money["spent"]}]


def test_stale_page_before_the_present_one_takes_no_settlement_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", closes=4, settles=5, ensemble=EAGER) as play:
        play.scan()
        decide_all(play)
        # the look that finds nothing settled is shown again with the one that does
        play.bring()
        play.clock.advance_to(START + 5 * HOUR)
        play.fault("kalshi", "page_again", path="/markets")
        news = play.bring()
        assert (news.market_ids, news.rejected) == ((), 1)
        [refused] = play.rows("select row_key, why from rejected_rows")
        assert refused["row_key"] == "kalshi:A-1"
        assert "told twice" in refused["why"]
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert_paid_in_full(play, versions=1)


def test_status_that_goes_backwards_is_a_withdrawal_and_pays_nothing_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", settles=5, ensemble=EAGER) as play:
        play.scan()
        decide_all(play)
        play.clock.advance_to(START + 5 * HOUR)
        assert play.bring().positions_settled == 1
        for round_ in (1, 2):
            play.fault("kalshi", "backwards", path="/markets")
            assert play.bring().market_ids == ("kalshi:A-1",)
            assert play.rows("select payout_micro_usd as n from positions") == [{"n": None}]
            play.clock.advance_to(START + (5 + round_) * HOUR)
            assert play.bring().market_ids == ("kalshi:A-1",)
        assert_paid_in_full(play, versions=5)
        kinds = [it["kind"] for it in play.rows("select kind from trade_log order by trade_id")]
        assert kinds[0] == "open"
        assert len(kinds) == 6


def test_settled_market_that_is_listed_as_open_is_decided_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # it settles long before its close, so that nothing but the settlement says that it is over
    with playing(database, monkeypatch, "A-1", "B-1", closes=300, ensemble=EAGER) as play:
        play.put(replace(play.world.markets["A-1"], resolved_at=START + 5 * HOUR, outcome=True))
        play.scan()
        decide_all(play)
        play.clock.advance_to(START + 100 * HOUR)
        play.bring()
        play.fault("kalshi", "backwards", count=None, path="/events")
        scan = play.scan()
        assert (scan.seen, scan.due, scan.rejected) == (1, 1, 1)
        assert play.rows("select status from markets order by market_id") == [
            {"status": "settled"},
            {"status": "active"},
        ]
        assert play.rows("select row_key from rejected_rows") == [{"row_key": "kalshi:A-1"}]
        # the next look says the same and is told once
        assert play.scan().rejected == 0
        # taken back by the venue itself it is open again
        play.fault("kalshi", "backwards", path="/markets")
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert (play.scan().seen, play.rows("select status from markets where market_id = 'kalshi:A-1'")) == (
            2,
            [{"status": "active"}],
        )


def test_result_that_is_corrected_later_pays_the_difference(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", closes=4, settles=5, ensemble=EAGER) as play:
        play.scan()
        decide_all(play)
        play.clock.advance_to(START + 5 * HOUR)
        play.fault("kalshi", "wrong_result", path="/markets")
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert play.rows("select payout_micro_usd as n from positions") == [{"n": 0}]
        play.clock.advance_to(START + 6 * HOUR)
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert play.rows("select version, outcome from resolutions order by version") == [
            {"version": 1, "outcome": 0},
            {"version": 2, "outcome": 1},
        ]
        assert_paid_in_full(play, versions=2)


def test_book_without_a_side_at_the_moment_of_the_order_is_not_traded_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=EAGER) as play:
        play.scan()
        play.fault("kalshi", "one_sided", path="/orderbooks")
        assert play.decide(1).reasons == {"one_sided_book": 1}
        assert play.rows("select 1 from positions") == []


def test_rate_limit_without_headers_is_waited_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.fault("kalshi", "rate_limited", count=2)
        assert play.scan().due == 1
