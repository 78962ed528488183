import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import pytest

from ensemble_pipeline.domain import AnomalyKind, CallStatus, CostAnomaly, PromptWording
from ensemble_pipeline.errors import BudgetRefusedError
from ensemble_pipeline.store import anomalies, audit, budget, calls
from ensemble_pipeline.store.budget import Closing, Limits
from ensemble_pipeline.store.calls import LLMQuery
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.ledger import Booking, Ledger
from ensemble_pipeline_tests.store.rows import (
    DAY,
    NOW,
    UNLIMITED,
    call_of,
    market_of,
    quote_of,
    save_models,
    save_snapshot,
)

T = TypeVar("T")


@pytest.fixture
def filled(database: Database) -> Database:
    with database.connection() as connection:
        save_models(connection, "a", "b")
        save_snapshot(connection, market_of("RAIN-1"), quote_of())
        calls.save_prompt(connection, PromptWording("hash", "forecaster", 1, "", ""), NOW)
    return database


def with_ledger(database: Database, limits: Limits, work: Callable[[Ledger], Awaitable[T]]) -> T:
    async def run() -> T:
        async with database.async_pool(4) as pool:
            return await work(Ledger(pool, limits))

    return asyncio.run(run())


def failed(reservation: int, attempt: int = 1, booked: int = 0, odd: tuple[CostAnomaly, ...] = ()) -> Booking:
    query = LLMQuery(
        reservation_id=reservation,
        snapshot_id=1,
        model_id="a",
        attempt=attempt,
        prompt_hash="hash",
        prompt="?",
        requested_at=NOW,
        latency_ms=5,
        status=CallStatus.FAILED,
        cost_micro_usd=booked,
        cost_source="worst_case",
        problem="it broke",
    )
    closing = Closing(reservation, NOW.date(), "settled", booked)
    return Booking(query, closing, NOW, worst_case=40, anomalies=odd)


def test_many_at_once_are_served_and_refused_as_the_limit_says(filled: Database) -> None:
    async def work(ledger: Ledger) -> list[int | BaseException]:
        return await asyncio.gather(*(ledger.reserve(call_of(amount=10)) for _ in range(50)), return_exceptions=True)

    outcomes = with_ledger(filled, Limits(None, 95, None), work)
    passed = [it for it in outcomes if isinstance(it, int)]
    refused = [it for it in outcomes if isinstance(it, BudgetRefusedError)]
    assert (len(passed), len(set(passed)), len(refused)) == (9, 9, 41)
    assert {it.scope for it in refused} == {"day"}
    assert "may cost $0.00001, but the day budget of $0.000095 has $0 spent and $0.00009 held" in str(refused[0])


def test_booking_records_the_call_and_closes_its_reservation_in_one_transaction(filled: Database) -> None:
    odd = (CostAnomaly(AnomalyKind.OVERRUN, "much", 50), CostAnomaly(AnomalyKind.USAGE_MISSING, "nothing said"))

    async def work(ledger: Ledger) -> None:
        await ledger.book(failed(await ledger.reserve(call_of(amount=40)), booked=50, odd=odd))

    with_ledger(filled, UNLIMITED, work)
    with filled.connection() as connection:
        assert budget.day_spend(connection, NOW.date()).spent == 50
        assert audit.ledger_differences(connection, NOW.date() - DAY) == []
        assert audit.call_differences(connection, NOW.date() - DAY) == []
        assert [(row["kind"], row["n"]) for row in anomalies.anomalies_since(connection, NOW - DAY)] == [
            ("overrun", 1),
            ("usage_missing", 1),
        ]


def test_booking_that_the_database_refuses_leaves_its_reservation_held_and_the_others_booked(filled: Database) -> None:
    async def work(ledger: Ledger) -> list[BaseException | None]:
        reservations = [await ledger.reserve(call_of(amount=40)) for _ in range(3)]
        bookings = [failed(it, attempt) for it, attempt in zip(reservations, (1, 0, 2), strict=True)]
        return await asyncio.gather(*(ledger.book(it) for it in bookings), return_exceptions=True)

    first, second, third = with_ledger(filled, UNLIMITED, work)
    assert (first, third) == (None, None)
    assert isinstance(second, psycopg.errors.CheckViolation)
    with filled.connection() as connection:
        rows = connection.execute("select state from budget_reservations order by reservation_id").fetchall()
        assert [row["state"] for row in rows] == ["settled", "held", "settled"]
        assert connection.execute("select count(*) as n from llm_queries").fetchone() == {"n": 2}


def test_model_whose_bill_is_in_dispute_is_refused_until_somebody_decided(filled: Database) -> None:
    odd = (CostAnomaly(AnomalyKind.ABSURD_COST, "far too much", 10**6),)

    async def work(ledger: Ledger) -> int:
        await ledger.book(failed(await ledger.reserve(call_of(amount=40)), booked=40, odd=odd))
        with pytest.raises(BudgetRefusedError, match="`ensemble budget disputes`") as refused:
            await ledger.reserve(call_of(amount=40))
        assert refused.value.scope == "dispute"
        return await ledger.reserve(call_of(amount=40, model="b"))

    with_ledger(filled, UNLIMITED, work)
    with filled.connection() as connection:
        [dispute] = anomalies.open_disputes(connection)
        assert (dispute.model_id, dispute.claimed_micro_usd, dispute.held_micro_usd) == ("a", 10**6, 40)
        assert anomalies.dispute_by_id(connection, dispute.anomaly_id) == dispute
        assert anomalies.dispute_by_id(connection, dispute.anomaly_id + 1) is None
        anomalies.resolve(connection, dispute.anomaly_id, "rejected", "a typing error", NOW)
        assert anomalies.open_disputes(connection) == []
    assert with_ledger(filled, UNLIMITED, lambda ledger: ledger.reserve(call_of(amount=40))) > 0
