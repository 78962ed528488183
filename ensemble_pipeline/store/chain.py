"""A recorded decision and everything it points at, read back along its foreign keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_pipeline.domain import Action, Forecast, GateVerdict, MemberOpinion, Reason, Route, Side, Strategy
from ensemble_pipeline.errors import DecisionNotFoundError
from ensemble_pipeline.store.calls import SELECT_FORECASTS
from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.decisions import DECISION_COLUMNS, EnsembleDecision


def decision_ids(connection: Connection) -> list[int]:
    """All decisions, in the order in which they were recorded."""
    return [row["decision_id"] for row in connection.execute("select decision_id from decisions order by 1")]


def decision_on(connection: Connection, snapshot_id: int) -> int:
    """The decision on a snapshot."""
    row = connection.execute("select decision_id from decisions where snapshot_id = %s", [snapshot_id]).fetchone()
    return int(require_row(row)["decision_id"])


def load_decision(connection: Connection, decision_id: int) -> EnsembleDecision:
    """A decision as it was recorded. Decisions recorded before inputs were kept have empty ones.

    Raises:
        DecisionNotFoundError: there is no such decision.
    """
    row = connection.execute(
        f"select {', '.join(DECISION_COLUMNS)}, gates, inputs from decisions where decision_id = %s", [decision_id]
    ).fetchone()
    if row is None:
        raise DecisionNotFoundError(
            f"there is no decision {decision_id}; `ensemble status` says how many there are, numbered from 1"
        )
    return EnsembleDecision(
        **row
        | {
            "action": Action(row["action"]),
            "side": None if row["side"] is None else Side(row["side"]),
            "terminal_reason": Reason(row["terminal_reason"]),
            "route": Route(row["route"]),
            "strategy": Strategy(row["strategy"]),
            "inputs": row["inputs"] or {},
            "gates": tuple(GateVerdict(Reason(it["gate"]), it["is_passed"], it["numbers"]) for it in row["gates"]),
            "members": _members(connection, decision_id),
        }
    )


def _members(connection: Connection, decision_id: int) -> tuple[MemberOpinion, ...]:
    rows = connection.execute(
        "select m.model_id, m.forecast_id, m.p_yes, f.confidence, m.weight, m.propensity from decision_members m"
        ' left join forecasts f using (forecast_id) where m.decision_id = %s order by m.model_id collate "C"',
        [decision_id],
    )
    return tuple(MemberOpinion(**row) for row in rows)


def answers_of(connection: Connection, decision: EnsembleDecision) -> list[Forecast]:
    """The answers that a decision heard, as they were recorded when they came in."""
    rows = connection.execute(
        f'{SELECT_FORECASTS} where forecast_id = any(%s) order by model_id collate "C"',
        [[it.forecast_id for it in decision.members if it.forecast_id is not None]],
    )
    return [Forecast(**row) for row in rows]


def settings_kept(connection: Connection, settings_hash: str) -> Mapping[str, Any]:
    """The settings kept under a hash."""
    row = connection.execute(
        "select settings from settings_snapshots where settings_hash = %s", [settings_hash]
    ).fetchone()
    return {} if row is None else row["settings"]


def calls_on(connection: Connection, snapshot_id: int) -> Sequence[Row]:
    """Every attempt at an answer on a snapshot: what was asked with which wording, what came back, what it cost."""
    return connection.execute(
        "select q.model_id, q.attempt, q.status, q.requested_at, q.latency_ms, q.http_status, q.response_model,"
        " q.response, q.problem, q.input_tokens, q.output_tokens, q.cached_input_tokens, q.reasoning_tokens,"
        " q.web_searches, q.answer_format, coalesce(q.sources, '[]') as sources,"
        " l.spent_micro_usd as cost_micro_usd, q.cost_source, q.prompt,"
        " q.prompt_hash, p.role, p.version as prompt_version, p.system, f.forecast_id, f.p_yes, f.confidence,"
        " f.reasoning, mo.provider, mo.wire_model from llm_queries q join prompts p using (prompt_hash)"
        " join models mo on mo.model_id = q.model_id join ledger l using (reservation_id)"
        " left join forecasts f using (query_id)"
        ' where q.snapshot_id = %s order by q.model_id collate "C", q.attempt',
        [snapshot_id],
    ).fetchall()


def cut_off_on(connection: Connection, snapshot_id: int) -> Sequence[Row]:
    """Calls about a snapshot that a dead run had reserved and left behind: they may have been sent, and billed."""
    return connection.execute(
        "select model_id, reserved_at, closed_at, spent_micro_usd as cost_micro_usd from ledger"
        " where snapshot_id = %s and state = 'expired' order by reservation_id",
        [snapshot_id],
    ).fetchall()


def repeats_on(connection: Connection, snapshot_id: int) -> dict[str, Row]:
    """By model, the earlier forecast that it gave again on a snapshot, and how far apart the two occasions were."""
    rows = connection.execute(
        "select f.model_id, f.reused_from as forecast_id, s.market_id, s.snapshot_id, d.decision_id, u.kind, u.cause,"
        " u.age_s, u.price_distance, u.similarity, f.confidence, s.confidence as confidence_before"
        " from forecasts f join forecasts s on s.forecast_id = f.reused_from"
        " left join decisions d on d.snapshot_id = s.snapshot_id left join cache_uses u"
        " on (u.snapshot_id, u.model_id) = (f.snapshot_id, f.model_id) where f.snapshot_id = %s",
        [snapshot_id],
    )
    return {row.pop("model_id"): row for row in rows}


def outcome_of(connection: Connection, decision_id: int, market_id: str) -> Row:
    """What came of a decision: its market's newest settlement, and the position with what it brought."""
    settled = connection.execute(
        "select outcome, is_withdrawn, resolved_at, known_at from resolutions where market_id = %s"
        " order by version desc limit 1",
        [market_id],
    ).fetchone()
    position = connection.execute(
        "select p.position_id, p.side, p.contracts, p.entry_price, p.cost_micro_usd, p.fee_micro_usd, p.opened_at,"
        " p.closed_at, p.payout_micro_usd, p.exit_reason, (select sum(cash_micro_usd)::bigint from trade_log t"
        " join positions s using (position_id) where s.decision_id = p.decision_id) as cash_flow_micro_usd"
        " from positions p where p.decision_id = %s and p.part_of is null",
        [decision_id],
    ).fetchone()
    return {"settlement": settled, "position": position}


def windows_behind(connection: Connection, ranking_id: int, models: Sequence[str]) -> list[Row]:
    """The windows of these models as of a ranking, over all segments."""
    return connection.execute(
        "select w.model_id, w.window_hours, w.n, w.brier, w.accuracy from window_scores w join model_rankings r"
        " on r.as_of = w.as_of where r.ranking_id = %s and w.dimension = 'all' and w.model_id = any(%s)"
        ' order by w.model_id collate "C", w.window_hours',
        [ranking_id, list(models)],
    ).fetchall()
