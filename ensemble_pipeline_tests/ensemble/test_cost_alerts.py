"""What is wrong with money: when it is told, with what words, until when; and what somebody decides about a bill."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import AnomalyKind
from ensemble_pipeline.ensemble.cost_alerts import KINDS, limit_alerts, watch_costs
from ensemble_pipeline.ensemble.disputes import decide_dispute
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.spend import SpendStatus
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import alerts, anomalies, audit, budget
from ensemble_pipeline.store.alerts import Alert, AlertChange
from ensemble_pipeline.store.anomalies import Dispute, Resolution
from ensemble_pipeline.store.budget import Account, DaySpend, Limits
from ensemble_pipeline.store.database import Connection, Database, Row, require_row
from ensemble_pipeline_tests.ensemble.history import table
from ensemble_pipeline_tests.ensemble.parts import instance_of, member_of, settings_of
from ensemble_pipeline_tests.store.rows import (
    DAY,
    HOUR,
    NOW,
    call_of,
    close,
    hold,
    market_of,
    quote_of,
    save_models,
    save_snapshot,
)

USD = 1_000_000
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
T = TypeVar("T")


@pytest.fixture
def filled(database: Database) -> Database:
    with database.connection() as connection:
        save_models(connection, "a", "b")
        save_snapshot(connection, market_of("RAIN-1"), quote_of())
    return database


def settled(connection: Connection, booked: int, *, model: str = "a", at: datetime = NOW) -> int:
    """A call that cost so much; returns its reservation."""
    reservation = hold(connection, call_of(amount=booked, model=model, at=at))
    assert reservation is not None
    close(connection, reservation, booked, at=at)
    return reservation


def note(
    connection: Connection,
    reservation: int,
    kind: AnomalyKind,
    claim: str = "odd",
    *,
    claimed: int | None = None,
    booked: int = 0,
    at: datetime = NOW,
) -> int:
    """What was odd about a call, as booking keeps it; returns its number."""
    row = connection.execute(
        "insert into cost_anomalies (reservation_id, model_id, kind, claim, claimed_micro_usd, booked_micro_usd,"
        " held_micro_usd, noticed_at) select reservation_id, model_id, %s, %s, %s, %s, held_micro_usd, %s"
        " from budget_reservations where reservation_id = %s returning anomaly_id",
        [kind, claim, claimed, booked, at, reservation],
    ).fetchone()
    return int(require_row(row)["anomaly_id"])


def disputed(
    database: Database, *, model: str = "a", claimed: int = 900_000, booked: int = 20_000, at: datetime = NOW
) -> int:
    """A call whose bill nobody believes; returns the number of the dispute."""
    with database.connection() as connection:
        reservation = settled(connection, booked, model=model, at=at)
        claim = f"reported says {claimed} micro-dollars where {booked} were held"
        return note(connection, reservation, AnomalyKind.ABSURD_COST, claim, claimed=claimed, booked=booked, at=at)


def instance_at(database: Database, now: datetime = NOW, *extra: MemberSettings, **limits: Any) -> Instance:
    """Two free members and others besides; every limit that is not given is unlimited."""
    open_ended = {"day_soft_usd": "unlimited", "day_hard_usd": "unlimited"}
    settings = settings_of("a", "b", budget=open_ended | limits)
    changed = settings.model_copy(update={"members": (*settings.members, *extra)})
    return instance_of(changed, database, SteppedClock(now))


def look(database: Database, now: datetime = NOW, *extra: MemberSettings, **limits: Any) -> AlertChange:
    return watch_costs(instance_at(database, now, *extra, **limits))


def standing(database: Database) -> list[Row]:
    with database.connection() as connection:
        return alerts.open_alerts(connection)


def only_alert(database: Database, kind: str) -> Row:
    [row] = standing(database)
    assert row["kind"] == kind
    return row


LIMIT = 1_000_000
SUBJECTS = {"day": "day, hard", "day_soft": "day, soft", "provider": "provider local", "model": "model a"}
CONSEQUENCES = {
    "day": "At the limit no call leaves before midnight UTC. See cost_report",
    "day_soft": "At the limit new analyses are answered from earlier answers or skipped.",
    "provider": "At the limit this provider is not asked before midnight UTC; others are.",
    "model": "At the limit this model is not asked before midnight UTC; others are.",
}


def status_of(scope: str, committed: int, limit: int | None = LIMIT) -> SpendStatus:
    """A day with one limit: a quarter of what counts against it is held, the rest spent."""
    held = committed // 4
    account = Account(committed - held, held)
    limits = Limits(
        limit if scope == "day_soft" else None,
        limit if scope == "day" else None,
        None,
        providers={"local": limit} if scope == "provider" else {},
        models={"a": limit} if scope == "model" else {},
    )
    accounts = {"local": account}, {"a": account}
    return SpendStatus(DaySpend(NOW.date(), account.spent, account.held, *accounts), limits)


@pytest.mark.parametrize("scope", SUBJECTS)
@pytest.mark.parametrize(
    ("committed", "severity"),
    [
        (0, None),
        (790_000, None),
        (799_999, None),
        (800_000, "warning"),
        (940_000, "warning"),
        (949_999, "warning"),
        (950_000, "error"),
        (1_000_000, "error"),
        (1_000_001, "error"),
        (3_000_000, "error"),
    ],
)
def test_limit_warns_from_eighty_percent_on_and_is_an_error_from_ninety_five(
    scope: str, committed: int, severity: str | None
) -> None:
    found = [it for it in limit_alerts(status_of(scope, committed)) if it.kind == "budget"]
    assert [it.severity for it in found] == ([] if severity is None else [severity])
    for alert in found:
        assert alert.subject == SUBJECTS[scope]
        assert alert.cause == f"${committed / USD:.4f} of the limit $1.0000 ({SUBJECTS[scope]}) are spent and held"
        assert alert.action.startswith(CONSEQUENCES[scope])
        assert "aise it" in alert.action
        assert alert.evidence == {"committed_usd": committed / USD, "limit_usd": 1.0}


@pytest.mark.parametrize("scope", SUBJECTS)
@pytest.mark.parametrize("committed", [999_999, 1_000_000, 1_000_001, 3_000_000])
def test_more_spent_than_allowed_is_told_but_for_the_soft_limit_which_decisions_under_way_may_pass(
    scope: str, committed: int
) -> None:
    found = [it for it in limit_alerts(status_of(scope, committed)) if it.kind == "limit_below_spent"]
    assert len(found) == (committed > LIMIT and scope != "day_soft")
    for alert in found:
        assert (alert.subject, alert.severity) == (SUBJECTS[scope], "error")
        assert f"${committed / USD:.4f} are spent and held where $1.0000 are allowed" in alert.cause
        assert "the limit was lowered since, or calls cost more than their worst case" in alert.cause
        assert "Nothing that costs leaves on this account before midnight UTC" in alert.action
        assert alert.evidence == {"committed_usd": committed / USD, "limit_usd": 1.0}


@pytest.mark.parametrize("scope", SUBJECTS)
def test_limit_that_is_unlimited_is_never_told_and_one_of_nothing_always(scope: str) -> None:
    assert list(limit_alerts(status_of(scope, 10**9, None))) == []
    assert [(it.kind, it.severity) for it in limit_alerts(status_of(scope, 0, 0))] == [("budget", "error")]


@given(st.integers(1, 10**11), st.sampled_from(sorted(SUBJECTS)))
def test_shares_of_any_limit_are_reached_at_their_last_micro_dollar(twentieth: int, scope: str) -> None:
    def severity(committed: int) -> list[str]:
        return [it.severity for it in limit_alerts(status_of(scope, committed, 20 * twentieth)) if it.kind == "budget"]

    assert severity(16 * twentieth - 1) == []
    assert severity(16 * twentieth) == severity(19 * twentieth - 1) == ["warning"]
    assert severity(19 * twentieth) == ["error"]


def test_nothing_is_raised_where_nothing_is_wrong(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 790_000)
        hold(connection, call_of(amount=9_999))
    assert look(filled, day_soft_usd=1, day_hard_usd=1, provider_day_usd={"local": 1}) == AlertChange(0, 0, 0)
    assert standing(filled) == []


def test_every_limit_of_the_day_is_told_on_its_own(filled: Database) -> None:
    dear = member_of("c", day_usd=Decimal(1))
    with filled.connection() as connection:
        save_models(connection, "c")
        settled(connection, 800_000, model="c")
    limits = {"day_soft_usd": 1, "day_hard_usd": "0.84", "provider_day_usd": {"local": "0.5", "xai": 1}}
    assert look(filled, NOW, dear, **limits) == AlertChange(5, 0, 0)
    assert [(it["severity"], it["kind"], it["subject"]) for it in standing(filled)] == [
        ("error", "budget", "day, hard"),
        ("error", "budget", "provider local"),
        ("error", "limit_below_spent", "provider local"),
        ("warning", "budget", "day, soft"),
        ("warning", "budget", "model c"),
    ]


def test_alert_is_raised_once_follows_its_cause_resolves_by_itself_and_is_raised_anew(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 800_000)
    assert look(filled, day_hard_usd=1) == AlertChange(1, 0, 0)
    assert look(filled, NOW + MINUTE, day_hard_usd=1) == AlertChange(0, 1, 0)
    first = only_alert(filled, "budget")
    assert (first["severity"], first["raised_at"], first["updated_at"]) == ("warning", NOW, NOW + MINUTE)

    with filled.connection() as connection:
        hold(connection, call_of(amount=150_000))
    assert look(filled, NOW + 2 * MINUTE, day_hard_usd=1) == AlertChange(0, 1, 0)
    worse = only_alert(filled, "budget")
    assert (worse["severity"], worse["raised_at"], worse["updated_at"]) == ("error", NOW, NOW + 2 * MINUTE)
    assert worse["cause"] == "$0.9500 of the limit $1.0000 (day, hard) are spent and held"
    assert worse["evidence"] == {"committed_usd": 0.95, "limit_usd": 1.0}

    assert look(filled, NOW + 3 * MINUTE, day_hard_usd=2) == AlertChange(0, 0, 1)
    assert standing(filled) == []
    assert look(filled, NOW + 4 * MINUTE, day_hard_usd=2) == AlertChange(0, 0, 0)
    assert look(filled, NOW + 5 * MINUTE, day_hard_usd=1) == AlertChange(1, 0, 0)
    assert only_alert(filled, "budget")["raised_at"] == NOW + 5 * MINUTE
    kept = [(row["raised_at"], row["resolved_at"]) for row in table(filled, "alerts", "alert_id")]
    assert kept == [(NOW, NOW + 3 * MINUTE), (NOW + 5 * MINUTE, None)]


def test_alert_of_a_limit_is_gone_the_next_day(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 1_200_000)
    assert look(filled, day_hard_usd=1) == AlertChange(2, 0, 0)
    # 23:59:59 and midnight
    assert look(filled, NOW + 11.5 * HOUR - SECOND, day_hard_usd=1) == AlertChange(0, 2, 0)
    assert look(filled, NOW + 11.5 * HOUR, day_hard_usd=1) == AlertChange(0, 0, 2)


def test_lowering_a_limit_below_what_is_spent_is_told_until_it_is_raised(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 600_000)
    assert look(filled, day_hard_usd=1) == AlertChange(0, 0, 0)
    assert look(filled, day_hard_usd="0.5") == AlertChange(2, 0, 0)
    told = {it["kind"]: it["cause"] for it in standing(filled)}
    assert told.keys() == {"budget", "limit_below_spent"}
    assert told["limit_below_spent"].startswith("$0.6000 are spent and held where $0.5000 are allowed (day, hard)")
    assert look(filled, day_hard_usd="0.6") == AlertChange(0, 1, 1)
    assert only_alert(filled, "budget")["severity"] == "error"


def test_errors_come_before_warnings_and_older_before_newer(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 800_000)
        hold(connection, call_of(amount=10_000, at=NOW - HOUR))
    look(filled, day_soft_usd=1)
    look(filled, NOW + MINUTE, day_soft_usd=1, day_hard_usd="0.81")
    look(filled, NOW + 2 * MINUTE, day_soft_usd=1, day_hard_usd="0.81", provider_day_usd={"local": "0.82"})
    assert [it["subject"] for it in standing(filled)] == ["day, hard", "provider local", "day, soft"]


def test_dispute_is_told_until_somebody_decided(filled: Database) -> None:
    number = disputed(filled)
    assert look(filled) == AlertChange(1, 0, 0)
    alert = only_alert(filled, "cost_dispute")
    assert (alert["subject"], alert["severity"]) == (f"a #{number}", "error")
    assert alert["cause"] == (
        "a: reported says 900000 micro-dollars where 20000 were held; $0.0200 are booked, and the model is not asked"
    )
    assert f"`ensemble budget accept {number}`" in alert["action"]
    assert f"`ensemble budget reject {number}`" in alert["action"]
    assert alert["evidence"] == {"claimed_usd": 0.9, "reservation_id": 1}
    # it does not go away by waiting, and another one is another alert
    other = disputed(filled, model="b", at=NOW + 3 * DAY)
    assert look(filled, NOW + 3 * DAY) == AlertChange(1, 1, 0)
    decide_dispute(instance_at(filled, NOW + 3 * DAY), number, "rejected", "a typing error")
    assert look(filled, NOW + 3 * DAY) == AlertChange(0, 1, 1)
    assert only_alert(filled, "cost_dispute")["subject"] == f"b #{other}"


@pytest.mark.parametrize(
    ("kind", "says", "do"),
    [
        (AnomalyKind.UNUSABLE_REPORT, "reports costs that are no amount of money", "Compare the provider's bill"),
        (AnomalyKind.ZERO_COST, "is told to cost nothing, and is not free", "Compare the provider's bill"),
        (AnomalyKind.OVERRUN, "costs more than the worst case that was held", "Set max_web_searches"),
        (AnomalyKind.USAGE_MISSING, "tells no usage that can be read", "Ask the provider for usage"),
        (AnomalyKind.PRICE_UNKNOWN, "answers as a model whose price nobody knows", "Set input_usd_per_mtok"),
    ],
)
def test_odd_cost_is_told_with_its_number_for_a_day_and_resolves_by_itself(
    filled: Database, kind: AnomalyKind, says: str, do: str
) -> None:
    with filled.connection() as connection:
        for minutes, claim in enumerate(("first", "second", "third")):
            at = NOW + minutes * MINUTE
            note(connection, settled(connection, 10, at=at), kind, claim, at=at)
    newest = NOW + 2 * MINUTE
    assert look(filled, newest) == AlertChange(1, 0, 0)
    alert = only_alert(filled, "odd_cost")
    assert (alert["subject"], alert["severity"]) == (f"a: {kind.value}", "warning")
    assert alert["cause"].startswith(f"a {says}")
    assert alert["cause"].endswith(": 3 times in 24 hours, last third")
    assert alert["action"].startswith(do)
    assert alert["evidence"] == {"times": 3, "last_at": newest.isoformat()}
    assert look(filled, newest + 24 * HOUR - MINUTE) == AlertChange(0, 1, 0)
    assert only_alert(filled, "odd_cost")["evidence"]["times"] == 2
    assert look(filled, newest + 24 * HOUR) == AlertChange(0, 1, 0)
    assert look(filled, newest + 24 * HOUR + SECOND) == AlertChange(0, 0, 1)


def test_odd_costs_are_told_by_model_and_kind(filled: Database) -> None:
    with filled.connection() as connection:
        for model in ("a", "b"):
            reservation = settled(connection, 10, model=model)
            note(connection, reservation, AnomalyKind.OVERRUN)
            note(connection, reservation, AnomalyKind.USAGE_MISSING)
    assert look(filled) == AlertChange(4, 0, 0)
    subjects = [it["subject"] for it in standing(filled)]
    assert subjects == ["a: overrun", "a: usage_missing", "b: overrun", "b: usage_missing"]


def test_member_whose_price_nobody_knows_is_told_until_it_is_set_or_the_member_disabled(filled: Database) -> None:
    nobody_knows: dict[str, Any] = {"input_usd_per_mtok": None, "output_usd_per_mtok": None}
    unknown = member_of("made-up", **nobody_knows)
    assert look(filled, NOW, unknown) == AlertChange(1, 0, 0)
    alert = only_alert(filled, "price_unknown")
    assert (alert["subject"], alert["severity"]) == ("made-up", "warning")
    assert alert["cause"].startswith("made-up is not asked: ")
    assert alert["action"] == "Set its prices in ENSEMBLE_MEMBERS; 0 means free."
    assert look(filled, NOW, unknown.model_copy(update={"is_enabled": False})) == AlertChange(0, 0, 1)
    assert look(filled, NOW, unknown) == AlertChange(1, 0, 0)
    assert look(filled, NOW, member_of("made-up", input_usd_per_mtok="2", output_usd_per_mtok="10")) == AlertChange(
        0, 0, 1
    )
    listed = member_of("gpt", "openai", model="gpt-4o", **nobody_knows)
    assert look(filled, NOW, listed) == AlertChange(0, 0, 0)


def test_searching_member_whose_search_has_no_price_is_told(filled: Database) -> None:
    searching = member_of("s", max_web_searches=2)
    assert look(filled, NOW, searching) == AlertChange(1, 0, 0)
    assert only_alert(filled, "price_unknown")["subject"] == "s"
    assert look(filled, NOW, member_of("s", max_web_searches=2, web_search_usd="0.01")) == AlertChange(0, 0, 1)


def test_money_that_nobody_confirmed_is_told_for_the_day(filled: Database) -> None:
    with filled.connection() as connection:
        for amount in (5_000, 2_500):
            hold(connection, call_of(amount=amount))
        # under way is not lost
    assert look(filled) == AlertChange(0, 0, 0)
    with filled.connection() as connection:
        assert budget.expire_left_over(connection, [1], NOW) == 2
    assert look(filled) == AlertChange(1, 0, 0)
    alert = only_alert(filled, "unconfirmed_spend")
    assert (alert["subject"], alert["severity"]) == ("today", "warning")
    assert alert["cause"].startswith("$0.0075 were held by runs found dead today")
    assert alert["action"].startswith("See why the runs died.")
    assert alert["evidence"] == {"usd": 0.0075}
    assert look(filled, NOW + 11.5 * HOUR - SECOND) == AlertChange(0, 1, 0)
    assert look(filled, NOW + 11.5 * HOUR) == AlertChange(0, 0, 1)


def test_money_held_before_midnight_by_a_run_found_dead_after_it_is_told_too(filled: Database) -> None:
    midnight = NOW + 11.5 * HOUR
    with filled.connection() as connection:
        hold(connection, call_of(amount=5_000, at=midnight - MINUTE))
    assert look(filled, midnight - SECOND) == AlertChange(0, 0, 0)
    with filled.connection() as connection:
        assert budget.expire_abandoned(connection, midnight + MINUTE) == 1
    assert look(filled, midnight + MINUTE) == AlertChange(1, 0, 0)
    assert only_alert(filled, "unconfirmed_spend")["evidence"] == {"usd": 0.005}


ACCOUNT = "where scope = 'day' and account_key = '2026-03-02'"
TAMPERED = {
    "more spent": (f"update budget_accounts set spent_micro_usd = spent_micro_usd + 7 {ACCOUNT}", 1),
    "less spent": (f"update budget_accounts set spent_micro_usd = spent_micro_usd - 7 {ACCOUNT}", 1),
    "more held": (f"update budget_accounts set held_micro_usd = held_micro_usd + 7 {ACCOUNT}", 1),
    "fewer calls": (f"update budget_accounts set calls = calls - 1 {ACCOUNT}", 1),
    "account gone": (f"delete from budget_accounts {ACCOUNT}", 1),
    "account made up": (
        "insert into budget_accounts (scope, account_key, spent_micro_usd) values ('model', '2026-03-02 x', 5)",
        1,
    ),
    "correction beside the accounts": (
        "insert into budget_corrections values (default, 1, 7, 'quietly', now())",
        5,
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_accounts_changed_by_hand_are_told_until_they_are_put_right(filled: Database, how: str) -> None:
    with filled.connection() as connection:
        settled(connection, 100)
        before = connection.execute("select * from budget_accounts").fetchall()
    assert look(filled) == AlertChange(0, 0, 0)
    statement, accounts = TAMPERED[how]
    with filled.connection() as connection:
        connection.execute(statement)
    assert look(filled) == AlertChange(1, 0, 0)
    alert = only_alert(filled, "ledger")
    assert (alert["subject"], alert["severity"]) == ("accounts", "error")
    assert alert["cause"].startswith(f"{accounts} accounts differ from what was booked on them, first ")
    assert alert["action"].startswith("A fault in the software, or rows changed by hand. Stop")
    assert alert["evidence"] == {"accounts": accounts}
    with filled.connection() as connection:
        connection.execute("delete from budget_corrections; delete from budget_accounts")
        for row in before:
            connection.execute(
                "insert into budget_accounts (scope, account_key, spent_micro_usd, held_micro_usd, calls)"
                " values (%(scope)s, %(account_key)s, %(spent_micro_usd)s, %(held_micro_usd)s, %(calls)s)",
                row,
            )
    assert look(filled) == AlertChange(0, 0, 1)


def test_tampering_names_the_account_and_both_sums(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 100)
        connection.execute(TAMPERED["more spent"][0])
    look(filled)
    cause = only_alert(filled, "ledger")["cause"]
    assert "first day 2026-03-02: 107 against 100 micro-dollars spent" in cause


def test_tampering_with_what_is_held_names_what_is_held(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 100)
        hold(connection, call_of(amount=30))
        connection.execute(TAMPERED["more held"][0])
    look(filled)
    # 100 against 100 spent would say nothing
    assert "37 against 30 micro-dollars held" in only_alert(filled, "ledger")["cause"]


@pytest.mark.parametrize(("age", "is_told"), [(31, True), (32, False)])
def test_accounts_are_looked_at_thirty_one_days_back(filled: Database, age: int, *, is_told: bool) -> None:
    day = (NOW - age * DAY).date()
    with filled.connection() as connection:
        settled(connection, 100, at=NOW - age * DAY)
        connection.execute(
            "update budget_accounts set spent_micro_usd = 7 where scope = 'day' and account_key = %s", [day.isoformat()]
        )
    assert look(filled) == AlertChange(int(is_told), 0, 0)


@contextmanager
def blocked(database: Database, by: str) -> Iterator[Callable[[int], None]]:
    """Others come as far as this statement lets them until the end of the block, where it is undone.

    What it gives waits for so many others to queue up behind it.
    """
    with database.session() as session:
        session.execute("begin")
        session.execute(by)

        def until_waiting(n: int) -> None:
            for _ in range(500):
                row = session.execute(
                    "select count(*) as n from pg_stat_activity where datname = current_database()"
                    " and wait_event_type = 'Lock'"
                ).fetchone()
                if require_row(row)["n"] == n:
                    return
                # within a transaction the statistics are those of its first look
                session.execute("select pg_stat_clear_snapshot()")
                time.sleep(0.01)
            raise AssertionError(f"{n} others never waited")

        yield until_waiting
        session.execute("rollback")


def twice_at_once(database: Database, by: str, work: Callable[[], T]) -> list[Future[T]]:
    """`work` in two threads that both come to what they are blocked by before either goes on."""
    with ThreadPoolExecutor(2) as threads, blocked(database, by) as until_waiting:
        running = [threads.submit(work) for _ in range(2)]
        until_waiting(2)
    return running


def test_two_looks_at_once_raise_one_alert(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 800_000)
    # of an alert that is about to be raised nobody sees anything; without turns both would come to raise it themselves
    raising = (
        "insert into alerts (kind, subject, severity, cause, action, evidence, raised_at, updated_at)"
        " values ('budget', 'day, hard', 'error', '', '', '{}', now(), now())"
    )
    looks = twice_at_once(filled, raising, lambda: look(filled, day_hard_usd=1))
    assert sorted(it.result().raised for it in looks) == [0, 1]
    assert sorted(it.result().standing for it in looks) == [0, 1]
    assert len(table(filled, "alerts", "alert_id")) == 1


OTHERS = Alert("model_down", "a", "warning", "a does not answer", "Look at it.", {"since": 1})


def test_alerts_of_other_kinds_are_left_alone(filled: Database) -> None:
    with filled.connection() as connection:
        settled(connection, 800_000)
        assert alerts.update_alerts(connection, ["model_down"], [OTHERS], NOW) == AlertChange(1, 0, 0)
    assert look(filled, NOW + MINUTE, day_hard_usd=1) == AlertChange(1, 0, 0)
    assert look(filled, NOW + 2 * MINUTE) == AlertChange(0, 0, 1)
    left = only_alert(filled, "model_down")
    assert (left["raised_at"], left["updated_at"]) == (NOW, NOW)
    look(filled, NOW + 3 * MINUTE, day_hard_usd=1)
    with filled.connection() as connection:
        assert alerts.update_alerts(connection, ["model_down"], [], NOW + 4 * MINUTE) == AlertChange(0, 0, 1)
    assert only_alert(filled, "budget")["raised_at"] == NOW + 3 * MINUTE


def test_every_kind_that_is_raised_is_one_that_is_resolved(filled: Database) -> None:
    number = disputed(filled)
    with filled.connection() as connection:
        note(connection, 1, AnomalyKind.OVERRUN)
        hold(connection, call_of(amount=5_000, model="b"))
        budget.expire_left_over(connection, [1], NOW)
        connection.execute(TAMPERED["more spent"][0])
    unknown = member_of("made-up", input_usd_per_mtok=None, output_usd_per_mtok=None)
    look(filled, NOW, unknown, day_hard_usd="0.01")
    assert {it["kind"] for it in standing(filled)} == set(KINDS)
    assert all(it["cause"] and it["action"] for it in standing(filled))
    decide_dispute(instance_at(filled), number, "rejected", "a typing error")
    with filled.connection() as connection:
        connection.execute(TAMPERED["less spent"][0])
    assert look(filled, NOW + 2 * DAY) == AlertChange(0, 0, len(KINDS))


def spent_on(database: Database) -> dict[tuple[str, str], int]:
    """What the accounts say was spent."""
    return {
        (row["scope"], row["account_key"]): row["spent_micro_usd"] for row in table(database, "budget_accounts", "1")
    }


def accounts_of(day: str, spent: int) -> dict[tuple[str, str], int]:
    return {
        ("day", day): spent,
        ("provider", f"{day} local"): spent,
        ("model", f"{day} a"): spent,
        ("market", f"{day} kalshi:RAIN-1"): spent,
        ("decision", "1"): spent,
    }


def assert_books_come_out_even(database: Database, spent: int) -> None:
    with database.connection() as connection:
        assert audit.ledger_differences(connection, (NOW - 31 * DAY).date()) == []
    assert sum(row["spent_micro_usd"] for row in table(database, "ledger", "reservation_id")) == spent


def test_accepting_books_the_difference_as_a_correction_on_the_day_of_the_call(filled: Database) -> None:
    number = disputed(filled, at=NOW - DAY)
    decided = decide_dispute(instance_at(filled), number, "accepted", "the bill says so")
    claim = "reported says 900000 micro-dollars where 20000 were held"
    assert decided == Dispute(number, 1, "a", claim, 900_000, 20_000, 20_000, NOW - DAY)
    assert spent_on(filled) == accounts_of("2026-03-01", 900_000)
    assert_books_come_out_even(filled, 900_000)
    [correction] = table(filled, "budget_corrections", "correction_id")
    # 900,000 - 20,000
    assert correction == {
        "correction_id": 1,
        "reservation_id": 1,
        "amount_micro_usd": 880_000,
        "cause": "the bill says so",
        "corrected_at": NOW,
    }
    # what was booked at first stays to be seen
    [reservation] = table(filled, "budget_reservations", "reservation_id")
    assert (reservation["state"], reservation["booked_micro_usd"]) == ("settled", 20_000)


def test_rejecting_leaves_what_was_booked(filled: Database) -> None:
    number = disputed(filled)
    before = spent_on(filled)
    assert decide_dispute(instance_at(filled), number, "rejected", "a typing error").anomaly_id == number
    assert spent_on(filled) == before == accounts_of("2026-03-02", 20_000)
    assert_books_come_out_even(filled, 20_000)
    assert table(filled, "budget_corrections", "correction_id") == []


def test_accepting_what_is_booked_already_corrects_nothing(filled: Database) -> None:
    number = disputed(filled, claimed=20_000, booked=20_000)
    decide_dispute(instance_at(filled), number, "accepted", "right after all")
    assert table(filled, "budget_corrections", "correction_id") == []
    assert_books_come_out_even(filled, 20_000)


@pytest.mark.parametrize("resolution", ["accepted", "rejected"])
def test_decision_is_kept_with_its_cause_and_the_model_is_asked_again(filled: Database, resolution: Resolution) -> None:
    number = disputed(filled)
    with filled.connection() as connection:
        assert hold(connection, call_of()) is None
        assert hold(connection, call_of(model="b")) is not None
    decide_dispute(instance_at(filled, NOW + HOUR), number, resolution, "seen the bill")
    [kept] = table(filled, "cost_anomalies", "anomaly_id")
    assert (kept["resolution"], kept["resolution_cause"]) == (resolution, "seen the bill")
    assert kept["resolved_at"] == NOW + HOUR
    with filled.connection() as connection:
        assert anomalies.open_disputes(connection) == []
        assert hold(connection, call_of()) is not None


def test_model_stays_closed_until_each_of_its_disputes_is_decided(filled: Database) -> None:
    with filled.connection() as connection:
        reservations = [settled(connection, 20_000) for _ in range(2)]
        first, second = (
            note(connection, it, AnomalyKind.ABSURD_COST, claimed=900_000, booked=20_000) for it in reservations
        )
    decide_dispute(instance_at(filled), first, "accepted", "the bill says so")
    with filled.connection() as connection:
        assert hold(connection, call_of()) is None
    decide_dispute(instance_at(filled), second, "rejected", "a typing error")
    with filled.connection() as connection:
        assert hold(connection, call_of()) is not None
    assert_books_come_out_even(filled, 920_000)


def test_accepted_cost_counts_against_the_limits_and_their_alerts(filled: Database) -> None:
    number = disputed(filled)
    assert look(filled, day_hard_usd="0.5") == AlertChange(1, 0, 0)
    decide_dispute(instance_at(filled), number, "accepted", "the bill says so")
    assert look(filled, day_hard_usd="0.5") == AlertChange(2, 0, 1)
    assert [it["kind"] for it in standing(filled)] == ["budget", "limit_below_spent"]
    with filled.connection() as connection:
        assert hold(connection, call_of(), Limits(None, 500_000, None)) is None


@pytest.mark.parametrize("cause", ["", " ", "\n\t"])
@pytest.mark.parametrize("resolution", ["accepted", "rejected"])
def test_deciding_without_a_cause_is_refused_and_decides_nothing(
    filled: Database, resolution: Resolution, cause: str
) -> None:
    number = disputed(filled)
    with pytest.raises(InputError, match="--cause"):
        decide_dispute(instance_at(filled), number, resolution, cause)
    assert spent_on(filled) == accounts_of("2026-03-02", 20_000)
    with filled.connection() as connection:
        assert [it.anomaly_id for it in anomalies.open_disputes(connection)] == [number]


def test_deciding_about_what_is_no_open_dispute_is_refused(filled: Database) -> None:
    number = disputed(filled)
    with filled.connection() as connection:
        overrun = note(connection, 1, AnomalyKind.OVERRUN, claimed=30_000, booked=30_000)
    for unknown in (overrun, number + 99, 0, -1):
        with pytest.raises(InputError, match=f"no dispute {unknown} is open; `ensemble budget disputes`"):
            decide_dispute(instance_at(filled), unknown, "accepted", "the bill says so")
    assert spent_on(filled) == accounts_of("2026-03-02", 20_000)


@pytest.mark.parametrize("first", ["accepted", "rejected"])
@pytest.mark.parametrize("second", ["accepted", "rejected"])
def test_deciding_twice_is_refused_and_the_first_word_stands(
    filled: Database, first: Resolution, second: Resolution
) -> None:
    number = disputed(filled)
    decide_dispute(instance_at(filled), number, first, "once")
    with pytest.raises(InputError, match=f"no dispute {number} is open"):
        decide_dispute(instance_at(filled), number, second, "twice")
    [kept] = table(filled, "cost_anomalies", "anomaly_id")
    assert (kept["resolution"], kept["resolution_cause"]) == (first, "once")
    assert_books_come_out_even(filled, 900_000 if first == "accepted" else 20_000)


def test_two_who_accept_at_once_book_the_difference_once(filled: Database) -> None:
    number = disputed(filled)
    instance = instance_at(filled)
    deciding = "select from cost_anomalies for update"
    decided = twice_at_once(filled, deciding, lambda: decide_dispute(instance, number, "accepted", "the bill says so"))
    errors = [it.exception() for it in decided]
    assert [type(it) for it in errors if it is not None] == [InputError]
    assert len(table(filled, "budget_corrections", "correction_id")) == 1
    assert_books_come_out_even(filled, 900_000)
