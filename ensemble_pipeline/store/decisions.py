"""Decisions with what they rested on, and the paper positions they open."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from ensemble_pipeline.domain import Action, GateVerdict, MemberOpinion, Reason, Route, Side, Strategy
from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.portfolio import Portfolio
from ensemble_pipeline.store.resolutions import IS_NEWEST


@dataclass(frozen=True, slots=True)
class EnsembleDecision:
    """What the ensemble decided about one snapshot, and everything that decision rested on.

    Probabilities are for YES: `p_pooled` before and `p_calibrated` after calibration, `p_final` anchored to the
    market price `p_market` with the ensemble's `market_weight`. `disagreement_level` and `uncertainty` lie in [0, 1].
    `inputs` is JSON: what was known of this market alone.
    """

    snapshot_id: int
    market_id: str
    decided_at: datetime
    batch_id: int
    run_id: str
    action: Action
    side: Side | None
    terminal_reason: Reason
    route: Route
    strategy: Strategy
    trade_value_micro_usd: int
    p_market: float | None
    p_plain_mean: float | None
    p_pooled: float | None
    p_calibrated: float | None
    p_final: float | None
    market_weight: float | None
    disagreement_level: float | None
    uncertainty: float | None
    confidence: float | None
    edge: float | None
    limit_price: Decimal | None
    contracts: int | None
    stake_micro_usd: int
    fee_micro_usd: int
    selected_model: str | None
    reasoning: str
    gates: tuple[GateVerdict, ...]
    members: tuple[MemberOpinion, ...]
    inputs: Mapping[str, Any]
    context_id: int
    ranking_id: int
    calibration_id: int
    settings_hash: str
    code_version: str

    @property
    def models_consulted(self) -> tuple[str, ...]:
        """The members that were asked, in the order of their names."""
        return tuple(member.model_id for member in self.members)

    @property
    def final_decision(self) -> str:
        """The decision in words: ``SKIP`` with its reason, or the order."""
        if self.action is Action.SKIP or self.side is None:
            return f"SKIP ({self.terminal_reason})"
        return f"BUY {self.contracts} {self.side.upper()} at {self.limit_price}"


@dataclass(frozen=True, slots=True)
class Analyses:
    """Earlier decisions on a market that asked models: how many today, and the last of all."""

    today: int
    last_at: datetime | None


DECISION_COLUMNS = tuple(
    field.name for field in fields(EnsembleDecision) if field.name not in ("gates", "members", "inputs")
)


def save_decision(connection: Connection, decision: EnsembleDecision) -> int | None:
    """Record a decision with its members and, for a trade, the position; ``None`` where the snapshot is decided."""
    row = connection.execute(
        f"insert into decisions ({', '.join(DECISION_COLUMNS)}, gates, inputs)"
        f" values ({', '.join(['%s'] * (len(DECISION_COLUMNS) + 2))})"
        " on conflict (snapshot_id) do nothing returning decision_id",
        [
            *(getattr(decision, name) for name in DECISION_COLUMNS),
            Jsonb([asdict(gate) for gate in decision.gates]),
            Jsonb(decision.inputs),
        ],
    ).fetchone()
    if row is None:
        return None
    decision_id = int(row["decision_id"])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into decision_members (decision_id, snapshot_id, model_id, forecast_id, p_yes, weight, propensity)"
            " values (%s, %s, %s, %s, %s, %s, %s)",
            [
                (decision_id, decision.snapshot_id, o.model_id, o.forecast_id, o.p_yes, o.weight, o.propensity)
                for o in decision.members
            ],
        )
    if decision.action is Action.TRADE:
        _open_position(connection, decision_id, decision)
    return decision_id


def decided_among(connection: Connection, snapshot_ids: Sequence[int]) -> dict[int, int]:
    """The snapshots of these that are decided, each with its decision."""
    rows = connection.execute(
        "select snapshot_id, decision_id from decisions where snapshot_id = any(%s)", [list(snapshot_ids)]
    )
    return {row["snapshot_id"]: row["decision_id"] for row in rows}


def decided_by_others(connection: Connection, batch_id: int, run_id: str) -> dict[int, int]:
    """The snapshots of a batch that another run than this one of it has decided, each with its decision."""
    rows = connection.execute(
        "select r.snapshot_id, d.decision_id from decision_requests r join decisions d using (snapshot_id)"
        " where r.batch_id = %(batch)s and (d.batch_id, d.run_id) <> (%(batch)s, %(run)s) order by 1",
        {"batch": batch_id, "run": run_id},
    )
    return {row["snapshot_id"]: row["decision_id"] for row in rows}


def _open_position(connection: Connection, decision_id: int, decision: EnsembleDecision) -> None:
    row = connection.execute(
        "insert into positions (decision_id, market_id, side, contracts, entry_price, cost_micro_usd, fee_micro_usd,"
        " opened_at) values (%s, %s, %s, %s, %s, %s, %s, %s) returning position_id",
        [
            decision_id,
            decision.market_id,
            decision.side,
            decision.contracts,
            decision.limit_price,
            decision.stake_micro_usd,
            decision.fee_micro_usd,
            decision.decided_at,
        ],
    ).fetchone()
    row = require_row(row)
    connection.execute(
        "insert into trade_log (position_id, kind, at, cash_micro_usd) values (%s, 'open', %s, %s)",
        [row["position_id"], decision.decided_at, -(decision.stake_micro_usd + decision.fee_micro_usd)],
    )


def settle_positions(connection: Connection) -> int:
    """Pay out positions by the newest word on their market, and correct those paid by an older one; returns how many.

    A contract pays $1 on the right side; a voided market gives the stake back, fees are lost. A withdrawn settlement
    takes its payout back, and the position is open again. A position that was sold before has its proceeds, and gets
    nothing from any of these.
    """
    rows = connection.execute(
        "select p.position_id, p.payout_micro_usd, r.resolution_id, r.known_at,"
        " case when r.is_withdrawn then null when r.outcome is null then p.cost_micro_usd"
        " when (p.side = 'yes') = (r.outcome = 1) then p.contracts * 1000000::bigint else 0 end as due"
        " from positions p join resolutions r using (market_id)"
        f" where {IS_NEWEST} and p.exit_reason is null and not (r.is_withdrawn and p.payout_micro_usd is null)"
        " and not exists (select from trade_log t where t.position_id = p.position_id"
        " and t.resolution_id = r.resolution_id) order by p.position_id for update of p"
    ).fetchall()
    for row in rows:
        paid = row["payout_micro_usd"]
        connection.execute(
            "insert into trade_log (position_id, kind, at, cash_micro_usd, resolution_id) values (%s, %s, %s, %s, %s)",
            [
                row["position_id"],
                "settle" if paid is None else "correct",
                row["known_at"],
                (row["due"] or 0) - (paid or 0),
                row["resolution_id"],
            ],
        )
        connection.execute(
            "update positions set payout_micro_usd = %(due)s,"
            " closed_at = case when %(due)s::bigint is not null then coalesce(closed_at, %(at)s) end"
            " where position_id = %(id)s",
            {"due": row["due"], "at": row["known_at"], "id": row["position_id"]},
        )
    return len(rows)


def analyses_of(connection: Connection, market_ids: Sequence[str], now: datetime) -> dict[str, Analyses]:
    """Earlier analyses of a market before `now`: decisions that asked someone, and not just to compare answers."""
    rows = connection.execute(
        "select d.market_id, count(*) filter (where d.decided_at >= %(day)s) as today, max(d.decided_at) as last_at"
        " from decisions d where d.market_id = any(%(ids)s) and d.decided_at < %(now)s"
        " and (exists (select from llm_queries q where q.snapshot_id = d.snapshot_id and not exists (select from"
        " cache_uses u where (u.snapshot_id, u.model_id) = (q.snapshot_id, q.model_id) and u.cause = 'sampled'))"
        # whom a run had asked when it died
        " or exists (select from budget_reservations r where r.snapshot_id = d.snapshot_id and r.state = 'expired'))"
        " group by 1",
        {"ids": list(market_ids), "day": now.replace(hour=0, minute=0, second=0, microsecond=0), "now": now},
    )
    return {row["market_id"]: Analyses(row["today"], row["last_at"]) for row in rows}


def portfolio(connection: Connection, bankroll_micro_usd: int, now: datetime, modes: Sequence[str] = ()) -> Portfolio:
    """Cash and stakes as they stand; `modes` are those whose open positions are counted besides.

    A position was opened in the mode that its order was filled in.
    """
    cash = connection.execute("select coalesce(sum(cash_micro_usd), 0)::bigint as flow from trade_log").fetchone()
    rows = connection.execute(
        "select p.market_id, m.event_id, sum(p.cost_micro_usd)::bigint as staked, count(*) as positions,"
        " count(*) filter (where coalesce(d.inputs #>> '{filling,mode}', c.operating_mode) = any(%s)) as in_modes"
        " from positions p join markets m using (market_id) join decisions d using (decision_id)"
        " join decision_contexts c using (context_id) where p.closed_at is null group by 1, 2",
        [list(modes)],
    ).fetchall()
    today = connection.execute(
        "select coalesce(sum(cost_micro_usd), 0)::bigint as staked from positions where opened_at >= %s",
        [now.replace(hour=0, minute=0, second=0, microsecond=0)],
    ).fetchone()
    by_event: dict[str, int] = {}
    for row in rows:
        by_event[row["event_id"]] = by_event.get(row["event_id"], 0) + row["staked"]
    return Portfolio(
        cash=bankroll_micro_usd + require_row(cash)["flow"],
        open_positions=sum(row["positions"] for row in rows),
        staked_today=require_row(today)["staked"],
        staked_by_market={row["market_id"]: row["staked"] for row in rows},
        staked_by_event=by_event,
        opened_in_mode=sum(row["in_modes"] for row in rows),
    )


def settled_pools(connection: Connection, as_of: datetime) -> list[Row]:
    """Pooled and calibrated probabilities of decisions whose market had settled by `as_of`, with what came of them."""
    return connection.execute(
        "select d.p_pooled, d.p_calibrated, d.p_market, r.outcome, d.market_id, m.event_id, e.category from decisions d"
        " join markets m using (market_id) join market_events e using (event_id)"
        " join resolutions r using (market_id) where d.p_pooled is not null and r.outcome is not null"
        " and d.decided_at < r.resolved_at"
        " and r.known_at <= %(as_of)s and r.version = (select max(version) from resolutions l"
        " where l.market_id = r.market_id and l.known_at <= %(as_of)s) order by d.decision_id",
        {"as_of": as_of},
    ).fetchall()


def decisions_by_reason(connection: Connection, since: date | None = None) -> dict[str, int]:
    """How many decisions ended in each terminal reason, most frequent first."""
    rows = connection.execute(
        "select terminal_reason, count(*) as n from decisions where %(since)s::date is null or decided_at >= %(since)s"
        " group by 1 order by 2 desc, 1",
        {"since": since},
    )
    return {row["terminal_reason"]: row["n"] for row in rows}
