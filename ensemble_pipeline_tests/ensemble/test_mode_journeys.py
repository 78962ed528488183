"""Each operating mode over real HTTP: what opens, what is sold, what settles, and what the record says of it."""

from typing import Any

import pytest

from ensemble_pipeline.domain import Mode, Reason
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.positions import manage_positions
from ensemble_pipeline.ensemble.settlement import bring_resolutions
from ensemble_pipeline.replay.decisions import Replayed, replay_all
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.held import hold
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, make_market

OPTIONS: dict[str, Any] = {
    "ensemble": {"exploration_share": 0, "market_weight": 0.5, "max_members": 3},
    "gates": {"cooldown_hours": 0, **dict.fromkeys(("min_edge_high", "min_edge_middle", "min_edge_low"), 0.05)},
    "sizing": {"kelly_fraction": 1},
}
# all in, a contract costs 0.437052; full Kelly is above the market's cap of $50, of which a mode leaves a share
SHARES = {"normal": 1, "degraded": 0.75, "conservative": 0.5, "minimal": 0.25}
EXTRA = {"normal": 0, "degraded": 0.05, "conservative": 0.1, "minimal": 0.1}
CONTRACTS = {"normal": 114, "degraded": 85, "conservative": 57, "minimal": 28}


def decided(play: Play) -> dict[str, dict[str, Any]]:
    """By ticker, the newest decision on it."""
    rows = play.rows(
        "select distinct on (market_id) market_id, terminal_reason as reason, contracts, route, operating_mode as mode,"
        " confidence, gates from decisions join decision_contexts using (context_id)"
        # those that `hold` made up passed no gates
        " where gates <> '[]' order by market_id, decision_id desc"
    )
    return {row["market_id"].removeprefix("kalshi:"): row for row in rows}


def gate(row: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [it for it in row["gates"] if it["gate"] == name]
    numbers: dict[str, Any] = found["numbers"]
    return numbers


HELD = ("STOP-1", "THIN-1", "DONE-1", "HELD-1")
FRESH = ("NEWA-1", "NEWB-1")
REFUSED = dict.fromkeys(("HELD-1", "THIN-1", "NEWA-1", "NEWB-1", "STOP-1"), "emergency_mode")
TRADED = dict.fromkeys(("NEWA-1", "NEWB-1", "STOP-1"), "traded")
# of a market that is held no more is bought in any mode, but only the careful ones ask nobody about it
USUAL = {"HELD-1": "position_limit", "THIN-1": "edge"} | TRADED
ENDS = {
    "normal": USUAL,
    "degraded": USUAL,
    "conservative": REFUSED | TRADED,
    "minimal": REFUSED | TRADED | dict.fromkeys(("NEWB-1", "STOP-1"), "position_limit"),
    "suspended": REFUSED,
}


def prepare(play: Play, mode: Mode) -> None:
    """Four positions: one to stop, one too large to sell at once, one to settle, one to keep; and two new markets."""
    for ticker in FRESH:
        play.put(make_market(ticker, ticker[:4], opens=2, closes=300, settles=None))
    play.scan()
    for ticker in HELD:
        thin = ticker == "THIN-1"
        hold(play, ticker, contracts=1500 if thin else 10, price="0.05" if thin else "0.40")
    with play.instance.database.connection() as connection:
        # `hold` made one up that would leave no edge
        connection.execute("update calibration_tables set market_weight = 0.5")
    FallbackManager(play.instance).enable_emergency_mode(mode, "drill")
    play.change(scan={"reassess_hours": 0})
    play.clock.advance_to(play.clock.now() + HOUR)
    for ticker in (*FRESH, "HELD-1"):
        play.price(ticker, "0.40", "0.42")
    play.price("STOP-1", "0.10", "0.12")
    play.price("THIN-1", "0.01", "0.03")
    play.put(make_market("DONE-1", "DONE", opens=0, closes=1, settles=2))


@pytest.mark.parametrize("mode", list(Mode))
def test_each_mode_opens_what_it_may_and_always_sells_in_whole_and_in_part_and_settles(
    database: Database, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    with playing(database, monkeypatch, *HELD, *FRESH, **OPTIONS) as play:
        prepare(play, mode)
        managed = play.with_venue(lambda venue: manage_positions(play.instance, venue))
        assert (managed.exits, managed.reduced) == ({"stop": 1}, 1)
        assert play.with_venue(lambda venue: bring_resolutions(play.instance, venue)).positions_settled == 1
        play.scan()
        play.decide()
        made = decided(play)
        assert {row["mode"] for row in made.values()} == {mode}
        assert {ticker: row["reason"] for ticker, row in made.items()} == ENDS[mode]
        traded = [row for row in made.values() if row["reason"] == "traded"]
        assert {made[it]["contracts"] for it in FRESH} - {None} == ({CONTRACTS[mode]} if traded else set())
        if traded:
            assert {row["route"] for row in made.values()} == {"single" if mode is Mode.MINIMAL else "full"}
            assert gate(traded[0], "size")["mode_share"] == SHARES[mode]
            assert gate(traded[0], "confidence")["demanded"] == pytest.approx(0.5 + EXTRA[mode])
        assert numbers_of_step(made["HELD-1"]) == {"mode": mode, "step": "increase"}
        assert numbers_of_step(made["NEWA-1"]) == {"mode": mode}
        assert made_again(play) == len(made)


def numbers_of_step(row: dict[str, Any]) -> dict[str, Any]:
    return gate(row, "emergency_mode")


def made_again(play: Play) -> int:
    """How many decisions are made again to the bit; those that `hold` made up kept no inputs."""
    with play.instance.database.connection() as connection:
        found = [it for it in replay_all(connection) if isinstance(it, Replayed)]
    assert [it.difference for it in found] == [None] * len(found)
    return len(found)


def test_mode_minimal_holds_one_position_at_a_time_whatever_was_opened_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, *HELD, *FRESH, **OPTIONS) as play:
        prepare(play, Mode.MINIMAL)
        play.scan()
        play.decide()
        [opened] = [ticker for ticker, row in decided(play).items() if row["reason"] == "traded"]
        play.clock.advance_to(play.clock.now() + HOUR)
        play.scan()
        play.decide()
        refused = decided(play)["NEWB-1"]
        assert refused["reason"] == "position_limit"
        # four others were opened when the mode was normal
        numbers = gate(refused, "position_limit")
        assert (numbers["opened_in_mode"], numbers["max_in_mode"], numbers["open_positions"]) == (1, 1, 5)
        play.clock.advance_to(play.clock.now() + HOUR)
        play.price(opened, "0.10", "0.12")
        assert play.with_venue(lambda venue: manage_positions(play.instance, venue)).exits == {"stop": 2}
        play.scan()
        play.decide()
        # what it held is sold, so that another may be opened
        assert [row["reason"] for row in decided(play).values()].count("traded") == 1


def test_emergency_is_noticed_by_the_next_batch_before_money_is_risked_and_ends_by_itself(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = OPTIONS["ensemble"] | {"max_attempts": 1, "max_members": 5}
    rests = {"failures": 1, "open_s": 1800, "max_open_s": 1800}
    options = OPTIONS | {"ensemble": asked, "breaker": rests, "scan": {"reassess_hours": 0}}
    with playing(database, monkeypatch, "A-1", **options) as play:
        for provider in ("openai", "xai", "local"):
            play.fault(provider, "overloaded")
        found = []
        # after half an hour those that failed are tried once more, and answer
        for minutes in (0, 10, 30, 16, 16):
            play.clock.advance_to(play.clock.now() + minutes * HOUR / 60)
            play.scan()
            play.decide()
            found.append(decided(play)["A-1"]["mode"])
        assert found == ["normal", "conservative", "conservative", "degraded", "normal"]
        causes = [row["cause"] for row in play.rows("select cause from operating_modes order by mode_id")]
        assert causes[0] == "2 of 5 models are available"
        assert causes[-1].endswith(": nothing calls for another mode")
        assert made_again(play) == 5


BEFORE = {
    "stake_share_of": "kelly",
    **dict.fromkeys(("degraded_extra_confidence", "conservative_extra_confidence", "minimal_extra_confidence"), 0),
    **dict.fromkeys(("conservative_positions", "minimal_positions"), "unlimited"),
    "minimal_is_single": False,
}


@pytest.mark.parametrize(
    ("mode", "modes", "is_same"),
    [(Mode.CONSERVATIVE, BEFORE, True), (Mode.MINIMAL, BEFORE, True), (Mode.CONSERVATIVE, {}, False)],
)
def test_decisions_kept_before_modes_had_settings_are_made_again_as_they_were_decided(
    database: Database, monkeypatch: pytest.MonkeyPatch, mode: Mode, modes: dict[str, Any], *, is_same: bool
) -> None:
    usual = OPTIONS | {"sizing": {}, "modes": modes}
    with playing(database, monkeypatch, "A-1", "B-1", **usual) as play:
        FallbackManager(play.instance).enable_emergency_mode(mode, "drill")
        play.scan()
        play.decide()
        with database.connection() as connection:
            # what nobody kept then
            connection.execute("update settings_snapshots set settings = settings - 'modes'")
            connection.execute("update decisions set inputs = inputs #- '{filling,exposure,opened_in_mode}'")
            found = [it for it in replay_all(connection) if isinstance(it, Replayed)]
        assert len(found) == 2
        assert found[0].recorded.terminal_reason is Reason.TRADED
        assert [it.difference is None for it in found] == [is_same] * 2
