"""Walks through an archive in the order of time: what settles is learnt, then what is asked is decided.

Each strategy is walked as if it were the one in the settings: with its own calibration, budget and paper money, on
the same answers. Everything that decides is the code that decides in production.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import MICRO_PER_USD, Action, Ranking, Strategy
from ensemble_pipeline.ensemble.calibrating import SettledPools, fit
from ensemble_pipeline.ensemble.code_version import code_version
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import BatchContext, Filling, Method, Standing
from ensemble_pipeline.ensemble.efficiency import efficiencies, share_of_worst_case
from ensemble_pipeline.ensemble.engine import Consensus
from ensemble_pipeline.ensemble.judging import rank_models
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.ensemble.upkeep import LONGEST_WINDOW_HOURS
from ensemble_pipeline.replay.backtest.costs import Costs
from ensemble_pipeline.replay.backtest.learnt import Codes, Ledger, instant, second
from ensemble_pipeline.replay.backtest.paper import PaperBook
from ensemble_pipeline.replay.backtest.rows import AskedRow, Played
from ensemble_pipeline.settings import Policy, Settings
from ensemble_pipeline.store.budget import DaySpend
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline.store.efficiency import Efficiency

Floats = NDArray[np.float64]
# news that come to less than this share of what is known wait for more, but no longer than a day
_NEWS_SHARE = 0.005
_MOST_PATIENCE = timedelta(days=1)

Progress = Callable[[int, int], None]


SELECTED = "selected_members"
"""The track that asks as production does: whom selection and the cascade by trade value choose, and nobody else."""


@dataclass(frozen=True, slots=True)
class StrategyTrack:
    """What one strategy said and did, row by row; probabilities are NaN where nobody answered.

    `name` is the strategy's, or `SELECTED`.
    """

    name: str
    p_pooled: Floats
    p_calibrated: Floats
    p_final: Floats
    is_trade: NDArray[np.bool_]
    cost_micro_usd: NDArray[np.int64]
    weight: Floats
    book: PaperBook
    reasons: Counter[str]


@dataclass(frozen=True, slots=True)
class Walk:
    """An archive walked through: rows, columns over them, and its tracks.

    The first is that of the settings' strategy, the last that of selected members; between them are other strategies.
    """

    played: Played
    codes: Codes
    tracks: tuple[StrategyTrack, ...]


def walk(played: Played, settings: Settings, report_progress: Progress | None = None) -> Walk:
    """Decide every row of an archive as of its time, by every strategy that is allowed, and by selected members."""
    policy = settings.policy.model_copy(update={"members": played.members})
    codes = Codes.of(played.rows)
    names = tuple(member.name for member in played.members)
    ledger, costs = Ledger(played.rows, codes, names), Costs(played.rows, codes, names)
    allowed = [it for it in Strategy if getattr(policy.methods, it)]
    ordered = sorted(allowed, key=lambda it: it is not policy.ensemble.strategy)
    walkers = [_Walker(played, codes, settings, _hearing_all(policy, strategy), strategy) for strategy in ordered]
    walkers.append(_Walker(played, codes, settings, _selecting(policy), None))
    learning = _Learning(ledger)
    for row in played.rows:
        if learning.is_due(row.at):
            known = _judge(ledger, costs, names, row.at, policy)
            fitted: dict[bytes, Calibration] = {}
            for walker in walkers:
                walker.learn(known, row.at, fitted)
        for walker in walkers:
            walker.decide(row)
        if report_progress is not None:
            report_progress(row.number + 1, len(played.rows))
    for walker in walkers:
        walker.close()
    return Walk(played, codes, tuple(walker.track() for walker in walkers))


def _hearing_all(policy: Policy, strategy: Strategy) -> Policy:
    """Everybody is heard: the answers lie there, though asking for them may cost more than an operator would pay."""
    ensemble = policy.ensemble.model_copy(update={"member_policy": "all", "strategy": strategy})
    budget = policy.budget.model_copy(update={"decision_usd": "unlimited", "market_day_usd": "unlimited"})
    return policy.model_copy(update={"ensemble": ensemble, "budget": budget})


def _selecting(policy: Policy) -> Policy:
    ensemble = policy.ensemble.model_copy(update={"member_policy": "selected"})
    return policy.model_copy(update={"ensemble": ensemble})


class _Learning:
    """When there is enough news to learn from: all of it while little is known, later what adds up to something.

    Where thousands of questions resolve one by one, learning from each of them anew would take time by the square of
    their number; production learns by the hour.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known, self._left = -1, -1
        self._at: datetime | None = None

    def is_due(self, at: datetime) -> bool:
        """Whether to learn at `at`; then it is taken as done."""
        # what settled comes in, and what is older than the longest window no longer says who is good
        known, left = self._ledger.seen_by(at, _window_from_s(at))
        news = known - self._known + left - self._left
        is_late = self._at is None or at - self._at >= _MOST_PATIENCE
        if not news or (news < _NEWS_SHARE * self._known and not is_late):
            return False
        self._known, self._left, self._at = known, left, at
        return True


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is known of the members at one instant, whatever the strategy."""

    ranking: Ranking
    efficiency: Efficiency


def _judge(ledger: Ledger, costs: Costs, names: tuple[str, ...], at: datetime, policy: Policy) -> _Judged:
    rows, correlations, level = rank_models(ledger.known_by(at), names, _window_from_s(at), policy.ensemble)
    ranking = Ranking(0, at, rows, correlations)
    paid = costs.known_by(at)
    lines = efficiencies(paid, ranking, (), () if level is None else (level,), policy.ensemble)
    return _Judged(ranking, Efficiency(0, at, 0, share_of_worst_case(paid), tuple(lines)))


def _window_from_s(at: datetime) -> int:
    return second(at - timedelta(hours=LONGEST_WINDOW_HOURS))


class _Walker:
    """One strategy on its way through an archive; without one, the routes of production with selected members."""

    def __init__(
        self, played: Played, codes: Codes, settings: Settings, policy: Policy, strategy: Strategy | None
    ) -> None:
        self._played = played
        self._codes = codes
        self._policy = policy
        self._strategy = strategy
        n, k = len(played.rows), len(played.members)
        self._place = {member.name: index for index, member in enumerate(played.members)}
        self._pooled, self._calibrated, self._final = (np.full(n, np.nan) for _ in range(3))
        self._price = np.full(n, np.nan)
        self._is_trade = np.zeros(n, dtype=np.bool_)
        self._cost = np.zeros(n, dtype=np.int64)
        self._weight = np.zeros((n, k))
        self._reasons: Counter[str] = Counter()
        self._book = PaperBook(int(policy.sizing.bankroll_usd * MICRO_PER_USD), settings.exits)
        self._spend = DaySpend(played.rows[0].at.date(), 0, 0)
        self._base = self._context(settings.digest(), played.rows[0].at)
        self._engine = engine_of(self._policy, self._base)

    def _context(self, settings_hash: str, at: datetime) -> BatchContext:
        options = self._policy.ensemble
        return BatchContext(
            context_id=0,
            now=at,
            batch_id=0,
            run_id="backtest",
            method=Method.ADVANCED,
            ranking=Ranking(0, at, ()),
            strengths=(),
            degraded=frozenset(),
            calibration=Calibration(0, at, 1.0, 0, 0.0, options.market_weight),
            health={},
            operating_mode="normal",
            spend=self._spend,
            settings_hash=settings_hash,
            code_version=code_version(),
        )

    def learn(self, known: _Judged, at: datetime, fitted: dict[bytes, Calibration]) -> None:
        """Take what has settled by now into weights and calibration; `fitted` holds those of equal pools."""
        codes = self._codes
        done = np.flatnonzero((codes.resolved <= instant(at)) & ~np.isnan(self._pooled))
        pools = SettledPools(
            self._pooled[done],
            self._calibrated[done],
            self._price[done],
            codes.outcome[done],
            codes.category[done],
            codes.categories,
            codes.event[done],
            codes.market[done],
        )
        key = pools.p_pooled.tobytes()
        if key not in fitted:
            fitted[key] = fit(pools, self._policy.ensemble, at)
        self._base = replace(self._base, ranking=known.ranking, efficiency=known.efficiency, calibration=fitted[key])
        self._engine = engine_of(self._policy, self._base)

    def decide(self, row: AskedRow) -> None:
        """Decide one row, and book what came of it."""
        market = row.snapshot.market
        self._book.begin(row.at)
        self._book.mark(market, row.snapshot.quote, row.at)
        context = replace(self._base, now=row.at, spend=self._spent_on(row.at))
        standing = Standing(0, None, self._book.portfolio.cash, row.worst_case_micro_usd)
        plan = Planner(self._policy, context).plan(row.snapshot, standing)
        asked = _asked(row, plan) if self._strategy is None else frozenset(row.cost_micro_usd)
        answers = [answer for answer in row.answers if answer.model_id in asked]
        consensus = opinion_on(self._engine, plan, answers, self._strategy)
        filling = Filling(row.at, row.snapshot.quote, self._book.portfolio.seen_from(market))
        decision = conclude(self._policy, context, plan, consensus, filling)
        self._note(row, plan, asked, consensus, decision)
        self._book.open(market, decision, row.outcome, row.resolved_at)

    def _spent_on(self, at: datetime) -> DaySpend:
        if at.date() != self._spend.day:
            self._spend = DaySpend(at.date(), 0, 0)
        return self._spend

    def _note(
        self,
        row: AskedRow,
        plan: Plan,
        asked: frozenset[str],
        consensus: Consensus | None,
        decision: EnsembleDecision,
    ) -> None:
        n = row.number
        # where a gate refused before anyone was asked, the archive's answers are scored and nothing is spent
        heard = set(asked) if plan.members else set()
        if consensus is not None:
            self._pooled[n], self._calibrated[n] = consensus.p_pooled, consensus.p_calibrated
            self._final[n] = consensus.p_final
            self._price[n] = np.nan if row.snapshot.quote.mid is None else row.snapshot.quote.mid
            for member in consensus.answered:
                self._weight[n, self._place[member.model_id]] = member.weight
            if self._strategy is Strategy.CASCADING and plan.members:
                heard = {member.model_id for member in consensus.answered if member.weight} | set(row.failed)
        self._reasons[str(decision.terminal_reason)] += 1
        self._is_trade[n] = decision.action is Action.TRADE
        self._cost[n] = sum(cost for name, cost in row.cost_micro_usd.items() if name in heard)
        self._spend = replace(self._spend, spent=self._spend.spent + int(self._cost[n]))

    def close(self) -> None:
        """Settle what is still open once everything is known."""
        self._book.settle(None)

    def track(self) -> StrategyTrack:
        """What was said and done."""
        return StrategyTrack(
            SELECTED if self._strategy is None else str(self._strategy),
            self._pooled,
            self._calibrated,
            self._final,
            self._is_trade,
            self._cost,
            self._weight,
            self._book,
            self._reasons,
        )


def _asked(row: AskedRow, plan: Plan) -> frozenset[str]:
    """Who is asked where members are selected: those of the plan that the archive asked, and who stands in for them."""
    wanted = [member.name for member in plan.members if member.name in row.cost_micro_usd]
    failed = sum(name in row.failed for name in wanted)
    standby = [member.name for member in plan.standby if member.name in row.cost_micro_usd]
    return frozenset(wanted + standby[:failed])
