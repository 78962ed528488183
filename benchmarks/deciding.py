"""One decision's own work with 12 members, against reading the twelve answers it rests on; CPU seconds.

Own work: selection, the gates, pooling, uncertainty, edge and size. No network, no database. The alternative is what
no way of deciding can do without: turning twelve texts into checked probabilities.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import (
    Forecast,
    Market,
    MarketStatus,
    Quote,
    Ranked,
    Ranking,
    RequestReason,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import BatchContext, Filling, Method, Standing
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Planner
from ensemble_pipeline.providers.answers import read_answer
from ensemble_pipeline.settings import MemberSettings, Policy
from ensemble_pipeline.store.budget import DaySpend
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.portfolio import Exposure

MEMBERS, ROUNDS, REPEATS = 12, 200, 7
_BUDGET_MS = 2.0
_NOW = datetime(2026, 3, 2, tzinfo=UTC)


def run() -> str:
    """Alternate both, and compare the medians."""
    spent: tuple[list[float], list[float]] = ([], [])
    decide, read = _deciding(), _reading()
    for _ in range(REPEATS):
        for work, times in zip((decide, read), spent, strict=True):
            times.append(_cpu_ms(work))
    ours, theirs = (statistics.median(times) for times in spent)
    return (
        f"deciding: one decision with {MEMBERS} members {ours:.2f} CPU ms, reading its {MEMBERS} answers {theirs:.2f} "
        f"CPU ms, ratio {ours / theirs:.1f}; {ours / _BUDGET_MS:.2f} of the 2 ms a decision may cost"
    )


def _cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(ROUNDS):
        work()
    return (time.process_time() - start) / ROUNDS * 1000


def _deciding() -> Callable[[], object]:
    names = [f"model-{i}" for i in range(MEMBERS)]
    members = tuple(MemberSettings(name=name, provider="local", model=name) for name in names)
    policy = Policy(members=members, ensemble=Policy().ensemble.model_copy(update={"max_members": MEMBERS}))
    rows = tuple(Ranked(name, i + 1, 0.001 * i, 0.005, 100, 80.0, 1 / MEMBERS) for i, name in enumerate(names))
    pairs = {(a, b): 0.3 for a in names for b in names if a < b}
    context = BatchContext(
        context_id=1,
        now=_NOW,
        batch_id=1,
        run_id="bench",
        method=Method.ADVANCED,
        ranking=Ranking(1, _NOW, rows, pairs),
        strengths=(),
        degraded=frozenset(),
        calibration=Calibration(1, _NOW, 1.1, 100, 80.0, 0.2),
        health={},
        operating_mode="normal",
        spend=DaySpend(_NOW.date(), 0, 0),
        settings_hash="",
        code_version="",
    )
    quote = Quote(_NOW, Decimal("0.40"), Decimal("0.42"), Decimal("0.41"), Decimal(90_000))
    market = Market(
        "bench:M", "bench", "M", "bench:E", "S", "Climate", "Will it rain?", "Rules.", _NOW, _NOW + timedelta(days=9),
        MarketStatus.ACTIVE,
    )  # fmt: skip
    snapshot = Snapshot(1, market, quote, RequestReason.NEW, VolatilityRegime.NORMAL)
    standing = Standing(0, None, 10**9, dict.fromkeys(names, 5_000))
    answers = [Forecast(i, 1, name, 0.6 + 0.02 * i, 0.8) for i, name in enumerate(names)]
    filling = Filling(_NOW, quote, Exposure(10**9, 0, 0, 0, 0))

    def decide() -> object:
        # a fresh context, so that nothing is remembered from the last decision
        fresh = replace(context, ranking=replace(context.ranking))
        plan = Planner(policy, fresh).plan(snapshot, standing)
        return conclude(policy, fresh, plan, opinion_on(engine_of(policy, fresh), plan, answers), filling)

    return decide


def _reading() -> Callable[[], object]:
    texts = [
        json.dumps({"reasoning": "Base rate, then the evidence. " * 20, "p_yes": 0.6 + 0.02 * i, "confidence": 0.8})
        for i in range(MEMBERS)
    ]
    return lambda: [read_answer(text) for text in texts]
