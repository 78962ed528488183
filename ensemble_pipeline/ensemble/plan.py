"""Before anyone is asked: the gates that need no answer, the route by trade value, and the members to ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from ensemble_pipeline import __version__
from ensemble_pipeline.domain import MICRO_PER_USD, GateVerdict, MarketStatus, Ranking, Reason, Snapshot
from ensemble_pipeline.ensemble.cost import CostOptimizer, SpendStatus
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.ensemble.selection import Candidate, ModelSelector, conditions_of
from ensemble_pipeline.errors import UnknownPriceError
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import calls
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.decisions import Analyses, analyses_of, portfolio
from ensemble_pipeline.store.monitoring import ModelHealth
from ensemble_pipeline.store.rankings import ModelStrength

# beyond these gates nobody may be asked, whatever the member policy says
_HARD_GATES = frozenset({Reason.NOT_OPEN, Reason.EMERGENCY_MODE, Reason.DAILY_BUDGET, Reason.NO_MEMBER})


class Route(StrEnum):
    """How much deliberation a market's trade value carries."""

    SINGLE = "single"
    FULL = "full"
    ENHANCED = "enhanced"


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What all decisions of a batch rest on, read once so that they rest on the same."""

    now: datetime
    batch_id: int
    run_id: str
    ranking: Ranking
    strengths: Sequence[ModelStrength]
    calibration: Calibration
    health: Mapping[str, ModelHealth]
    operating_mode: str
    spend: SpendStatus
    settings_hash: str
    code_version: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one snapshot; `refusal` is the first gate that failed."""

    snapshot: Snapshot
    route: Route
    trade_value_micro_usd: int
    members: tuple[MemberSettings, ...]
    standby: tuple[MemberSettings, ...]
    verdicts: tuple[GateVerdict, ...]

    @property
    def refusal(self) -> Reason | None:
        """The terminal reason, where a gate failed."""
        return next((verdict.gate for verdict in self.verdicts if not verdict.is_passed), None)


class Planner:
    """Plans the decisions of one batch."""

    def __init__(self, instance: Instance, batch_id: int, run_id: str) -> None:
        self._instance = instance
        self._settings = instance.settings
        self._tracker = PerformanceTracker(instance)
        self.context = self._read_context(batch_id, run_id)
        self._costs = CostOptimizer(instance)

    def _read_context(self, batch_id: int, run_id: str) -> BatchContext:
        now = self._instance.clock.now()
        digest = self._settings.digest()
        with self._instance.database.connection() as connection:
            self._instance.register_members(connection)
            calls.save_settings(connection, digest, self._settings.snapshot(), now)
        fallback = FallbackManager(self._instance)
        ranking = self._tracker.get_model_ranking()
        return BatchContext(
            now=now,
            batch_id=batch_id,
            run_id=run_id,
            ranking=ranking,
            strengths=self._tracker.get_strengths(ranking),
            calibration=self._tracker.get_calibration(),
            health=fallback.check_provider_health(),
            operating_mode=fallback.operating_mode(),
            spend=CostOptimizer(self._instance).monitor_spend(),
            settings_hash=digest,
            code_version=__version__,
        )

    def plan(self, snapshots: Sequence[Snapshot]) -> list[Plan]:
        """One plan for each snapshot, in their order."""
        ids = [snapshot.market.market_id for snapshot in snapshots]
        with self._instance.database.connection() as connection:
            history = analyses_of(connection, ids, self.context.now)
            cash = portfolio(connection, self._instance.bankroll_micro_usd, self.context.now).cash
        selector = ModelSelector(
            self._settings.ensemble, self.context.ranking, self.context.health, self.context.strengths
        )
        nothing = Analyses(0, None)
        return [self._plan(s, history.get(s.market.market_id, nothing), cash, selector) for s in snapshots]

    def _plan(self, snapshot: Snapshot, history: Analyses, cash: int, selector: ModelSelector) -> Plan:
        value = self._trade_value(snapshot, cash)
        route = self._route(snapshot, value)
        verdicts = self._early_gates(snapshot, history)
        priced = self._price(snapshot)
        candidates = selector.order(priced, conditions_of(snapshot))
        chosen = self._choose(snapshot, route, candidates, priced, selector)
        affordable = self._costs.enforce_budget_limits([c.worst_case_micro_usd for c in chosen], self.context.spend)
        verdicts.append(GateVerdict(Reason.NO_MEMBER, bool(chosen), {"candidates": len(candidates)}))
        if chosen:
            worst = sum(candidate.worst_case_micro_usd for candidate in chosen)
            numbers = {"affordable": affordable, "chosen": len(chosen), "worst_case_micro_usd": worst}
            verdicts.append(GateVerdict(Reason.DECISION_BUDGET, affordable > 0, numbers))
        asked = chosen[:affordable] if self._may_ask(verdicts) else []
        standby = [c.member for c in candidates if c not in chosen]
        return Plan(
            snapshot=snapshot,
            route=route,
            trade_value_micro_usd=value,
            members=tuple(candidate.member for candidate in asked),
            standby=tuple(standby) if asked and self._settings.ensemble.member_policy == "selected" else (),
            verdicts=tuple(verdicts),
        )

    def _early_gates(self, snapshot: Snapshot, history: Analyses) -> list[GateVerdict]:
        gates, context, market = self._settings.gates, self.context, snapshot.market
        rest_h = None if history.last_at is None else (context.now - history.last_at) / timedelta(hours=1)
        volume = snapshot.quote.volume
        soft = context.spend.limits.day_soft
        is_open = market.status is MarketStatus.ACTIVE and context.now < market.closes_at
        return [
            GateVerdict(Reason.NOT_OPEN, is_open, {"status": market.status, "closes_at": market.closes_at.isoformat()}),
            GateVerdict(Reason.EMERGENCY_MODE, context.operating_mode != "suspended", {"mode": context.operating_mode}),
            GateVerdict(
                Reason.DAILY_BUDGET,
                not context.spend.is_soft_limit_reached,
                {"committed_micro_usd": context.spend.committed, "soft_limit_micro_usd": soft},
            ),
            GateVerdict(
                Reason.COOLDOWN,
                rest_h is None or rest_h >= gates.cooldown_hours,
                {"hours_since_last": rest_h, "cooldown_hours": gates.cooldown_hours},
            ),
            GateVerdict(
                Reason.MARKET_DAY_COUNT,
                history.today < gates.analyses_per_day,
                {"analyses_today": history.today, "analyses_per_day": gates.analyses_per_day},
            ),
            GateVerdict(
                Reason.VOLUME,
                volume is None or volume >= gates.min_volume,
                {"volume": None if volume is None else float(volume), "min_volume": float(gates.min_volume)},
            ),
            GateVerdict(
                Reason.CATEGORY, market.category not in gates.excluded_categories, {"category": market.category}
            ),
        ]

    def _trade_value(self, snapshot: Snapshot, cash: int) -> int:
        sizing, quote = self._settings.sizing, snapshot.quote
        most = int(self._instance.bankroll_micro_usd * sizing.max_market_share)
        if quote.volume is not None:
            mid = 0.5 if quote.mid is None else quote.mid
            # to the sixth digit, which no mid needs, so that a market and its mirror image are worth the same
            dearer = Decimal(str(round(max(mid, 1 - mid), 6)))
            by_volume = quote.volume * Decimal(str(sizing.max_volume_share)) * dearer * MICRO_PER_USD
            most = min(most, int(by_volume))
        return max(0, min(most, cash))

    def _route(self, snapshot: Snapshot, value: int) -> Route:
        options = self._settings.ensemble
        left = snapshot.market.closes_at - self.context.now
        is_near = left <= timedelta(hours=self._settings.gates.near_expiry_hours)
        if is_near or value < options.cascade_single_below_usd * MICRO_PER_USD:
            return Route.SINGLE
        return Route.ENHANCED if value > options.cascade_enhanced_above_usd * MICRO_PER_USD else Route.FULL

    def _price(self, snapshot: Snapshot) -> list[tuple[MemberSettings, int]]:
        members = self._settings.enabled_members
        roles = {member.role for member in members}
        prompts = {role: build_prompt(role, snapshot.market, self.context.now) for role in roles}
        priced = []
        for member in members:
            try:
                priced.append((member, worst_case_micro_usd(prompts[member.role], member)))
            except UnknownPriceError:
                # a model whose price nobody knows is not asked; `ensemble doctor` names it
                continue
        return priced

    def _choose(
        self,
        snapshot: Snapshot,
        route: Route,
        candidates: list[Candidate],
        priced: Sequence[tuple[MemberSettings, int]],
        selector: ModelSelector,
    ) -> list[Candidate]:
        if self._settings.ensemble.member_policy == "all":
            return [Candidate(member, worst, {}) for member, worst in sorted(priced, key=lambda p: p[0].name)]
        if route is Route.SINGLE:
            best = selector.select_optimal_model(priced, conditions_of(snapshot))
            chosen = [] if best is None else [best]
        else:
            chosen = candidates[: self._settings.ensemble.max_members]
        key = f"{snapshot.market.market_id}|{snapshot.quote.observed_at.isoformat()}"
        return [*chosen, *selector.explored(candidates, chosen, key)]

    def _may_ask(self, verdicts: Sequence[GateVerdict]) -> bool:
        failed = {verdict.gate for verdict in verdicts if not verdict.is_passed}
        if self._settings.ensemble.member_policy == "all":
            return not failed & _HARD_GATES
        return not failed
