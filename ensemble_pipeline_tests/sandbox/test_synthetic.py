import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ensemble_pipeline.domain import MarketStatus
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.sandbox.chance import logit
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.sandbox.synthetic_markets import STEP
from ensemble_pipeline.sandbox.synthetic_models import CATEGORIES, DEFAULT_MODELS
from ensemble_pipeline.sandbox.world import FailureKind

WORLD = SyntheticWorld()


def instants(world: SyntheticWorld) -> list[datetime]:
    found, at = [], world.next_event_after(world.starts_at - timedelta(seconds=1))
    while at is not None:
        found.append(at)
        at = world.next_event_after(at)
    return found


def test_same_arguments_make_the_same_world() -> None:
    twin, other = SyntheticWorld(), SyntheticWorld(seed=8)
    assert twin.key == WORLD.key == "synthetic-s7-d30-m10"
    assert dict(twin.markets) == dict(WORLD.markets)
    assert dict(other.markets) != dict(WORLD.markets)
    for ticker, market in list(WORLD.markets.items())[:40]:
        assert twin.quote(ticker, market.opened_at) == WORLD.quote(ticker, market.opened_at)
        for model in WORLD.models:
            asked = (model.wire_model, ticker, market.opened_at)
            assert twin.answer(*asked) == WORLD.answer(*asked)


def test_every_market_lives_within_the_world_on_the_grid() -> None:
    assert len(WORLD.markets) == 290
    for market in WORLD.markets.values():
        assert market.resolved_at is not None
        assert WORLD.starts_at <= market.opened_at < market.closes_at < market.resolved_at <= WORLD.ends_at
        assert timedelta(days=1) <= market.closes_at - market.opened_at <= timedelta(days=5)
        for at in (market.opened_at, market.closes_at, market.resolved_at):
            assert (at - WORLD.starts_at) % STEP == timedelta(0)
        assert market.category in CATEGORIES


def test_status_follows_the_life_of_a_market() -> None:
    ticker, market = next(iter(WORLD.markets.items()))
    assert market.resolved_at is not None
    moment = timedelta(seconds=1)
    assert WORLD.status(ticker, market.opened_at - moment) is MarketStatus.UNOPENED
    assert WORLD.status(ticker, market.opened_at) is MarketStatus.ACTIVE
    assert WORLD.status(ticker, market.closes_at - moment) is MarketStatus.ACTIVE
    assert WORLD.status(ticker, market.closes_at) is MarketStatus.CLOSED
    assert WORLD.status(ticker, market.resolved_at) is MarketStatus.SETTLED


def test_quotes_stand_between_one_and_99_cents_with_a_spread_of_one_to_four() -> None:
    for ticker, market in WORLD.markets.items():
        assert WORLD.quote(ticker, market.opened_at - timedelta(seconds=1)) is None
        at, volume = market.opened_at, 0.0
        while at < market.closes_at:
            quote = WORLD.quote(ticker, at)
            assert quote is not None
            assert quote.yes_bid is not None
            assert quote.yes_ask is not None
            assert 1 <= round(100 * (quote.yes_ask - quote.yes_bid)) <= 4
            assert Decimal("0.01") <= quote.yes_bid < quote.yes_ask <= Decimal("0.99")
            assert quote.volume is not None
            assert quote.volume >= volume
            volume = float(quote.volume)
            at += STEP


def test_quote_within_a_step_and_after_the_close_shows_nothing_later() -> None:
    for ticker, market in list(WORLD.markets.items())[:50]:
        for at in (market.opened_at + STEP - timedelta(seconds=1), market.closes_at, WORLD.ends_at):
            quote = WORLD.quote(ticker, at)
            assert quote is not None
            assert quote.observed_at <= at
            assert quote.observed_at < market.closes_at


def test_answers_stand_still_within_a_step_and_exist_while_active_only() -> None:
    model = WORLD.models[0].wire_model
    ticker, market = next(iter(WORLD.markets.items()))
    first = WORLD.answer(model, ticker, market.opened_at)
    assert first is not None
    assert WORLD.answer(model, ticker, market.opened_at + STEP - timedelta(seconds=1)) == first
    assert WORLD.answer(model, ticker, market.opened_at + STEP) != first
    assert WORLD.answer(model, ticker, market.opened_at - timedelta(seconds=1)) is None
    assert WORLD.answer(model, ticker, market.closes_at) is None
    assert WORLD.answer("nobody", ticker, market.opened_at) is None
    assert WORLD.answer(model, "NONE", market.opened_at) is None


def test_error_of_the_models_follows_their_true_order() -> None:
    world = SyntheticWorld(days=90, markets_per_day=12)
    errors: dict[str, float] = {}
    for model in world.models:
        squares = []
        for ticker, market in world.markets.items():
            answer = world.answer(model.wire_model, ticker, market.opened_at)
            assert answer is not None
            assert answer.p_yes is not None
            squares.append((logit(answer.p_yes) - logit(world.true_probability(ticker, market.opened_at))) ** 2)
        errors[model.name] = math.sqrt(sum(squares) / len(squares))
    assert tuple(sorted(errors, key=errors.__getitem__)) == world.true_skill_order
    for spec in DEFAULT_MODELS:
        assert errors[spec.model.name] == pytest.approx(spec.noise_sd, rel=0.15)


def test_truth_is_calibrated_and_better_than_the_price() -> None:
    world = SyntheticWorld(days=200, markets_per_day=20)
    truth, price = 0.0, 0.0
    expected, happened = 0.0, 0
    for ticker, market in world.markets.items():
        p = world.true_probability(ticker, market.opened_at)
        quote = world.quote(ticker, market.opened_at)
        assert quote is not None
        assert quote.mid is not None
        truth += (p - bool(market.outcome)) ** 2
        price += (quote.mid - bool(market.outcome)) ** 2
        expected += p
        happened += bool(market.outcome)
    assert truth < price
    # markets of one event hang together: about two per draw, hence the factor
    assert abs(happened - expected) < 3 * math.sqrt(2 * truth)


def test_thresholds_of_one_event_never_contradict() -> None:
    events: dict[str, list[tuple[int, bool]]] = {}
    for ticker, market in WORLD.markets.items():
        level = int(ticker.rsplit("-T", 1)[1])
        events.setdefault(market.event_ticker, []).append((level, bool(market.outcome)))
    assert any(len(rungs) > 1 for rungs in events.values())
    for rungs in events.values():
        outcomes = [outcome for _, outcome in sorted(rungs)]
        assert outcomes == sorted(outcomes, reverse=True)


def test_outage_takes_one_model_down_for_its_stretch() -> None:
    (spec,) = (spec for spec in DEFAULT_MODELS if spec.outage is not None)
    assert spec.outage is not None
    middle = WORLD.starts_at + sum(spec.outage) / 2 * (WORLD.ends_at - WORLD.starts_at)
    active = [ticker for ticker in WORLD.markets if WORLD.status(ticker, middle) is MarketStatus.ACTIVE]
    assert active
    for ticker in active:
        answer = WORLD.answer(spec.model.wire_model, ticker, middle)
        assert answer is not None
        assert answer.failure is FailureKind.UNAVAILABLE


def test_events_are_the_grid_points_at_which_something_changes() -> None:
    found = instants(WORLD)
    assert found == sorted(set(found))
    assert found[-1] == WORLD.ends_at
    assert all((at - WORLD.starts_at) % STEP == timedelta(0) for at in found)
    assert {market.resolved_at for market in WORLD.markets.values()} <= set(found)
    assert WORLD.next_event_after(WORLD.ends_at) is None


def test_true_noise_multiplies_by_category() -> None:
    assert WORLD.true_noise("cedar-pro", "Economics") == pytest.approx(0.2 * 0.8)
    assert WORLD.true_noise("cedar-pro", "Politics") == 0.2
    with pytest.raises(InputError, match="unknown model 'oak'"):
        WORLD.true_noise("oak", "Politics")


@pytest.mark.parametrize(("days", "markets_per_day"), [(1, 10), (30, 0)])
def test_world_too_small_is_refused(days: int, markets_per_day: int) -> None:
    with pytest.raises(InputError, match="days ≥ 2"):
        SyntheticWorld(days=days, markets_per_day=markets_per_day)


def test_models_must_have_their_own_wire_ids() -> None:
    with pytest.raises(InputError, match="wire_model"):
        SyntheticWorld(models=(DEFAULT_MODELS[0], DEFAULT_MODELS[0]), starts_at=datetime(2026, 1, 5, tzinfo=UTC))
