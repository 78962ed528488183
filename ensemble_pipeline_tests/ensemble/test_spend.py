"""Planning with money: what is scarce, what can be paid, and in what order it is given up."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.spend import LimitUse, PlannedCall, SpendStatus
from ensemble_pipeline.store.budget import Account, DaySpend, Limits

DAY = date(2026, 3, 2)


def status_of(limits: Limits, committed: int = 0, **accounts: dict[str, Account]) -> SpendStatus:
    return SpendStatus(DaySpend(DAY, committed, 0, **accounts), limits)


def call(name: str, worst: int, provider: str = "local") -> PlannedCall:
    return PlannedCall(name, provider, worst)


WANTED = [call("a", 10), call("b", 20), call("c", 30, "xai"), call("d", 5)]


@pytest.mark.parametrize(
    ("limits", "committed", "paid"),
    [
        (Limits(None, None, None), 10**9, "abcd"),
        (Limits(None, None, 65), 0, "abcd"),
        (Limits(None, None, 64), 0, "abc"),
        # who does not fit is left out, a cheaper one after it is not
        (Limits(None, None, 35), 0, "abd"),
        (Limits(None, None, 9), 0, "d"),
        (Limits(None, 100, None), 70, "ab"),
        (Limits(None, 100, None), 85, "ad"),
        (Limits(None, 100, None), 100, ""),
        (Limits(None, 50, None), 100, ""),
        (Limits(None, 0, None), 0, ""),
        (Limits(None, None, 0), 0, ""),
        (Limits(None, None, None, market_day=40), 0, "ad"),
        (Limits(None, None, None, market_day=0), 0, ""),
        (Limits(None, None, None, providers={"xai": 29}), 0, "abd"),
        (Limits(None, None, None, providers={"local": 0}), 0, "c"),
        (Limits(None, None, None, models={"b": 19}), 0, "acd"),
        # the soft limit stops no call that is planned: the ledger and the gate do
        (Limits(1, None, None), 50, "abcd"),
    ],
)
def test_calls_that_can_be_paid_are_those_that_fit_one_after_the_other(
    limits: Limits, committed: int, paid: str
) -> None:
    found = CostOptimizer.enforce_budget_limits(WANTED, status_of(limits, committed), market_committed=25)
    assert "".join(it.model_id for it in found) == paid


def test_what_providers_and_models_spent_before_counts() -> None:
    limits = Limits(None, None, None, providers={"local": 100}, models={"a": 50})
    status = status_of(limits, providers={"local": Account(60, 9)}, models={"a": Account(40, 1)})
    assert [it.model_id for it in status.payable(WANTED)] == ["b", "c", "d"]


def test_free_call_fits_into_what_is_used_up_and_not_into_nothing() -> None:
    free = [call("a", 0)]
    assert status_of(Limits(None, 50, None), 60).payable(free) == free
    assert status_of(Limits(None, 0, None)).payable(free) == []


@given(
    st.lists(st.integers(0, 60), max_size=8),
    st.fixed_dictionaries({name: st.one_of(st.none(), st.integers(0, 120)) for name in ("day", "decision", "market")}),
    st.integers(0, 130),
)
def test_what_can_be_paid_fits_every_limit_together(
    worst_cases: list[int], most: dict[str, int | None], committed: int
) -> None:
    limits = Limits(None, most["day"], most["decision"], most["market"])
    wanted = [call(f"m{n}", worst) for n, worst in enumerate(worst_cases)]
    paid = status_of(limits, committed).payable(wanted)
    total = sum(it.worst_case_micro_usd for it in paid)
    assert [it for it in wanted if it in paid] == paid
    if total:
        assert most["day"] is None or committed + total <= most["day"]
        assert most["decision"] is None or total <= most["decision"]
        assert most["market"] is None or total <= most["market"]
    if 0 in most.values():
        assert paid == []


@pytest.mark.parametrize(
    ("limits", "committed", "expected"),
    [
        (Limits(100, 200, None), 0, 0.0),
        (Limits(100, 200, None), 50, 0.0),
        (Limits(100, 200, None), 75, 0.5),
        (Limits(100, 200, None), 100, 1.0),
        (Limits(100, 200, None), 150, 1.0),
        (Limits(None, 200, None), 150, 0.5),
        (Limits(300, 200, None), 150, 0.5),
        (Limits(None, None, None), 10**9, 0.0),
        (Limits(0, None, None), 0, 1.0),
    ],
)
def test_pressure_rises_evenly_from_half_of_the_soft_limit_to_all_of_it(
    limits: Limits, committed: int, expected: float
) -> None:
    assert status_of(limits, committed).pressure(0.5) == expected


def test_pressure_that_begins_at_the_limit_is_none_below_it() -> None:
    assert status_of(Limits(100, None, None), 99).pressure(1.0) == 0.0
    assert status_of(Limits(100, None, None), 100).pressure(1.0) == 1.0


@given(st.integers(1, 1000), st.integers(0, 2000), st.integers(0, 500), st.floats(0.01, 1))
def test_pressure_never_falls_as_money_is_spent(soft: int, committed: int, more: int, start: float) -> None:
    limits = Limits(soft, None, None)
    before, after = (status_of(limits, it).pressure(start) for it in (committed, committed + more))
    assert 0 <= before <= after <= 1


def test_every_limit_shows_its_use_and_the_alert_it_reached() -> None:
    limits = Limits(100, 200, 5, 6, {"xai": 10, "openai": None}, {"a": 0, "b": 100})
    uses = status_of(limits, 96, providers={"xai": Account(7, 1)}, models={"b": Account(79)}).uses
    assert [(it.scope, it.subject, it.committed, it.limit, it.alert_share) for it in uses] == [
        ("day", "", 96, 200, 0.0),
        ("day_soft", "", 96, 100, 0.95),
        ("provider", "xai", 8, 10, 0.8),
        ("model", "a", 0, 0, 1.0),
        ("model", "b", 79, 100, 0.0),
    ]
    assert [it.share for it in uses] == [0.48, 0.96, 0.8, 1.0, 0.79]
    assert [it.name for it in uses] == ["day, hard", "day, soft", "provider xai", "model a", "model b"]


@pytest.mark.parametrize(("committed", "alert"), [(79, 0.0), (80, 0.8), (94, 0.8), (95, 0.95), (100, 1.0), (300, 1.0)])
def test_alert_is_reached_at_its_very_share(committed: int, alert: float) -> None:
    assert LimitUse("day", "", committed, 100).alert_share == alert
