"""What a decision rested on goes into the record and comes back to the bit."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline import __version__
from ensemble_pipeline.domain import (
    CacheKind,
    EarlierAnswer,
    Market,
    MarketStatus,
    Mode,
    Quote,
    RequestReason,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.ensemble import code_version as code_version_module
from ensemble_pipeline.ensemble.code_version import code_version
from ensemble_pipeline.ensemble.context import Filling, Standing
from ensemble_pipeline.ensemble.stored import (
    accounts_json,
    health_json,
    inputs_of,
    read_accounts,
    read_health,
    read_inputs,
)
from ensemble_pipeline.store.budget import Account, DaySpend
from ensemble_pipeline.store.contexts import StoredContext, load_context, save_context
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.health import ModelHealth
from ensemble_pipeline.store.portfolio import Exposure
from ensemble_pipeline_tests.store.rows import NOW, save_context_row

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given a zone
MONEY = st.integers(-(2**62), 2**62)
PRICES = st.one_of(st.none(), st.decimals(0, 1, allow_nan=False, allow_infinity=False))
SIZES = st.one_of(st.none(), st.decimals(0, 10**15, allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
QUOTES = st.builds(
    Quote,
    observed_at=TIMES,
    yes_bid=PRICES,
    yes_ask=PRICES,
    last_price=PRICES,
    volume=SIZES,
    yes_bid_size=SIZES,
    yes_ask_size=SIZES,
)
MARKETS = st.builds(
    Market,
    market_id=TEXTS,
    venue=TEXTS,
    ticker=TEXTS,
    event_id=TEXTS,
    series=TEXTS,
    category=TEXTS,
    question=TEXTS,
    rules=TEXTS,
    opened_at=TIMES,
    closes_at=TIMES,
    status=st.sampled_from(MarketStatus),
)
SNAPSHOTS = st.builds(
    Snapshot,
    snapshot_id=st.integers(1, 2**62),
    market=MARKETS,
    quote=QUOTES,
    reason=st.sampled_from(RequestReason),
    regime=st.sampled_from(VolatilityRegime),
)
STANDINGS = st.builds(
    Standing,
    analyses_today=st.integers(0, 1000),
    last_analysis_at=st.one_of(st.none(), TIMES),
    cash_micro_usd=MONEY,
    worst_case_micro_usd=st.dictionaries(TEXTS, MONEY, max_size=5),
    is_held=st.booleans(),
    emergency=st.dictionaries(
        TEXTS,
        st.builds(
            EarlierAnswer,
            forecast_id=st.integers(1, 2**62),
            kind=st.just(CacheKind.SAME),
            refusal=st.sampled_from(["", "too_old"]),
            age_s=st.floats(0, 86_400),
            price_distance=st.one_of(st.none(), st.floats(0, 14)),
            similarity=st.just(1.0),
        ),
        max_size=2,
    ),
    heard_in_emergency=st.lists(TEXTS, max_size=2).map(tuple),
)
FILLINGS = st.builds(
    Filling,
    at=TIMES,
    quote=QUOTES,
    exposure=st.builds(
        Exposure,
        cash=MONEY,
        open_positions=st.integers(0, 99),
        in_market=MONEY,
        in_event=MONEY,
        staked_today=MONEY,
        opened_in_mode=st.integers(0, 99),
    ),
    mode=st.sampled_from([None, *Mode]),
)
HEALTHS = st.dictionaries(
    TEXTS,
    st.builds(
        ModelHealth,
        model_name=TEXTS,
        is_available=st.booleans(),
        last_check_time=TIMES,
        consecutive_failures=st.integers(0, 10**6),
        avg_response_time_ms=st.one_of(st.none(), st.floats(0, allow_nan=False, allow_infinity=False)),
        calls=st.integers(0, 10**6),
        failures=st.integers(0, 10**6),
        breaker_state=st.sampled_from(["closed", "open", "half_open"]),
    ),
    max_size=4,
)


def through_json(value: dict[str, Any]) -> dict[str, Any]:
    """As the database keeps it: a text and back."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found


def digits(quote: Quote) -> list[str | None]:
    """Prices and sizes digit by digit: 0.40 is equal to 0.4, and written otherwise."""
    numbers = (getattr(quote, name) for name in ("yes_bid", "yes_ask", "last_price", "volume", "yes_bid_size"))
    return [None if number is None else str(number) for number in (*numbers, quote.yes_ask_size)]


@given(SNAPSHOTS, STANDINGS, FILLINGS)
def test_inputs_come_back_to_the_last_digit(snapshot: Snapshot, standing: Standing, filling: Filling) -> None:
    found = read_inputs(through_json(inputs_of(snapshot, standing, filling)))
    assert found == (snapshot, standing, filling)
    assert digits(found[0].quote) == digits(snapshot.quote)
    assert digits(found[2].quote) == digits(filling.quote)
    # written again, they are the same text
    assert json.dumps(inputs_of(*found)) == json.dumps(inputs_of(snapshot, standing, filling))


def names(inputs: dict[str, Any]) -> set[str]:
    return {*inputs["standing"], *inputs["filling"], *inputs["filling"]["exposure"]}


def test_what_came_to_be_kept_later_is_written_only_where_it_says_something() -> None:
    later = {"is_held", "emergency", "heard_in_emergency", "opened_in_mode", "mode"}
    quote = Quote(NOW, Decimal("0.40"), Decimal("0.42"), None, None)
    market = Market("v:t", "v", "t", "v:e", "e", "c", "q", "r", NOW, NOW, MarketStatus.ACTIVE)
    snapshot = Snapshot(1, market, quote, RequestReason.NEW, VolatilityRegime.CALM)
    silent = inputs_of(snapshot, Standing(0, None, 0, {}), Filling(NOW, quote, Exposure(1, 0, 0, 0, 0)))
    assert not later & names(silent)
    held = Standing(0, None, 0, {}, is_held=True, heard_in_emergency=("a",))
    telling = inputs_of(snapshot, held, Filling(NOW, quote, Exposure(1, 1, 0, 0, 0, 1), mode=Mode.MINIMAL))
    assert later & names(telling) == later - {"emergency"}


@given(HEALTHS)
def test_health_comes_back_to_the_bit(health: dict[str, ModelHealth]) -> None:
    assert read_health(through_json(health_json(health))) == health


@pytest.mark.parametrize("latency_ms", [0.1 + 0.2, 1e-300, 5e-324, 1.7976931348623157e308, 1 / 3])
def test_context_with_its_health_comes_back_from_the_database_to_the_bit(database: Database, latency_ms: float) -> None:
    health = {"a": ModelHealth("a", True, NOW.replace(microsecond=123457), 2, latency_ms, 7, 3, "half_open")}
    spend = DaySpend(NOW.date(), 2**53 + 1, 3, {"xai": Account(2**53 + 1, 1)}, {"a": Account(7), "b": Account(0, 2)})
    with database.connection() as connection:
        like = load_context(connection, save_context_row(connection))
        kept = StoredContext(
            batch_id=like.batch_id,
            run_id="run",
            planned_at=NOW.replace(microsecond=1),
            method="agreement",
            ranking_id=like.ranking_id,
            calibration_id=like.calibration_id,
            settings_hash="hash",
            code_version="1+0123456789ab",
            operating_mode="minimal",
            budget_day=NOW.date(),
            spent_micro_usd=2**53 + 1,
            held_micro_usd=3,
            health=health_json(health),
            accounts=accounts_json(spend),
            disputed=["a"],
        )
        found = load_context(connection, save_context(connection, kept))
    # the database writes a large number without its exponent, which is the same number
    assert replace(found, health={}) == replace(kept, health={})
    assert read_health(found.health) == health
    assert read_accounts(found.accounts) == {"providers": spend.providers, "models": spend.models}


def test_decimals_keep_their_scale() -> None:
    quote = Quote(NOW, Decimal("0.40"), Decimal("0.4200"), Decimal("0E-4"), Decimal("1E+3"))
    filling = Filling(NOW, quote, Exposure(1, 0, 0, 0, 0))
    market = Market("v:t", "v", "t", "v:e", "e", "c", "q", "r", NOW, NOW, MarketStatus.ACTIVE)
    snapshot = Snapshot(1, market, quote, RequestReason.NEW, VolatilityRegime.CALM)
    _, _, found = read_inputs(through_json(inputs_of(snapshot, Standing(0, None, 0, {}), filling)))
    assert digits(found.quote) == digits(quote)


def test_code_version_is_the_release_and_a_digest_that_stands() -> None:
    assert re.fullmatch(rf"{re.escape(__version__)}\+[0-9a-f]{{12}}", code_version())
    first = code_version()
    code_version.cache_clear()
    assert code_version() == first


def test_code_version_follows_every_module_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(*parts: str) -> str:
        monkeypatch.setattr(code_version_module, "_PARTS", parts)
        code_version.cache_clear()
        return code_version()

    try:
        parts = code_version_module._PARTS
        assert {"forecasting", "ensemble", "domain.py", "settings.py"} <= {*parts}
        without = {version(*(it for it in parts if it != left_out)) for left_out in parts}
        assert len(without) == len(parts)
        assert version(*parts) not in without
    finally:
        monkeypatch.undo()
        code_version.cache_clear()
