"""Before anyone is asked: the gates that need no answer, the route by trade value, and the members to ask.

Pure: everything it needs is handed in, so that the same plan can be made again years later.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from ensemble_pipeline.domain import (
    MICRO_PER_USD,
    EarlierAnswer,
    GateVerdict,
    MarketStatus,
    Reason,
    Route,
    Snapshot,
    Strategy,
)
from ensemble_pipeline.ensemble.context import BatchContext, Method, Standing
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.instance import limits_of
from ensemble_pipeline.ensemble.modes import Step, row_of
from ensemble_pipeline.ensemble.reuse import Reuse, choose_reuse, late_answers
from ensemble_pipeline.ensemble.selection import Candidate, ModelSelector, conditions_of, fit
from ensemble_pipeline.ensemble.spend import PlannedCall, SpendStatus
from ensemble_pipeline.settings import EnsembleSettings, MemberSettings, Policy

# what these spare is money: a decision from earlier answers spends none, or what comparing a few of them costs
_SPARED_BY_REUSE = frozenset({Reason.DAILY_BUDGET, Reason.COOLDOWN, Reason.MARKET_DAY_COUNT})
# beyond these gates nobody may be asked, whatever the member policy says
_HARD_GATES = frozenset({Reason.NOT_OPEN, Reason.EMERGENCY_MODE, Reason.DAILY_BUDGET, Reason.NO_MEMBER})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one snapshot; `refusal` is the first gate that failed.

    `members` are in the order of their utility, those that a draw let in last, named in `drawn`; `propensity` says
    with what chance the selection asks each. `reuse` says which of them give an earlier answer again.
    """

    snapshot: Snapshot
    route: Route
    strategy: Strategy
    trade_value_micro_usd: int
    members: tuple[MemberSettings, ...]
    standby: tuple[MemberSettings, ...]
    verdicts: tuple[GateVerdict, ...]
    standing: Standing
    propensity: Mapping[str, float] = field(default_factory=dict)
    drawn: frozenset[str] = frozenset()
    reuse: Reuse = field(default_factory=Reuse)

    @property
    def chosen(self) -> tuple[MemberSettings, ...]:
        """The members that the selection chose, without those a draw let in."""
        return tuple(member for member in self.members if member.name not in self.drawn)

    @property
    def explored(self) -> tuple[MemberSettings, ...]:
        """The members that a draw let in."""
        return tuple(member for member in self.members if member.name in self.drawn)

    @property
    def cascade_order(self) -> tuple[MemberSettings, ...]:
        """Whom a cascade asks one after the other: those chosen, then stand-ins. Others are asked beside it."""
        return (*self.chosen, *self.standby)

    @property
    def uncounted(self) -> frozenset[str]:
        """Whose answers are heard to be scored and not pooled: where one or two decide, who was drawn beside them."""
        return self.drawn if self.route in (Route.SINGLE, Route.PAIR) else frozenset()

    @property
    def refusal(self) -> Reason | None:
        """The terminal reason, where a gate failed."""
        return next((verdict.gate for verdict in self.verdicts if not verdict.is_passed), None)


class Planner:
    """Plans decisions that rest on one context."""

    def __init__(self, policy: Policy, context: BatchContext) -> None:
        self._policy = policy
        self._context = context
        self._mode = row_of(context.operating_mode, policy.modes)
        self._spend = SpendStatus(context.spend, limits_of(policy))
        self._pressure = self._spend.pressure(policy.budget.economise_from_share)
        self._selector = ModelSelector(
            policy.ensemble,
            context.ranking,
            context.health,
            context.strengths,
            context.degraded,
            context.efficiency,
            self._pressure,
        )

    def plan(self, snapshot: Snapshot, standing: Standing) -> Plan:
        """Pass the gates that need no answer and choose whom to ask."""
        value = self._trade_value(snapshot, standing.cash_micro_usd)
        hours_left = (snapshot.market.closes_at - self._context.now) / timedelta(hours=1)
        route = self._route(value, hours_left)
        early = self._early_gates(snapshot, standing)
        reuse = self._reuse(snapshot, standing, route, early)
        verdicts = [*_passed_by_reuse(early, reuse), self._near_expiry(hours_left)]
        candidates = self._candidates(snapshot, standing, value, reuse)
        may_be_chosen = candidates if self._policy.ensemble.member_policy == "all" else _fit(candidates)
        chosen = self._chosen(snapshot, self._payable(may_be_chosen, standing), route, value)
        explored = self._explored(snapshot, candidates, chosen)
        verdicts.append(GateVerdict(Reason.NO_MEMBER, bool(candidates), {"candidates": len(candidates)}))
        if candidates:
            verdicts.append(self._budget(candidates, chosen, standing))
        verdicts.append(self._route_taken(route, value))
        asked = self._payable(chosen + explored, standing) if self._may_ask(verdicts) else []
        share = self._selector.exploration_share
        drawn, wanted = _names(explored), _names(chosen + explored)
        standby = [c.member for c in candidates if c.member.name not in wanted and not c.is_absent]
        return Plan(
            snapshot=snapshot,
            route=route,
            strategy=self._strategy(route),
            trade_value_micro_usd=value,
            members=tuple(candidate.member for candidate in asked),
            standby=tuple(standby) if asked and self._policy.ensemble.member_policy == "selected" else (),
            verdicts=tuple(verdicts),
            standing=standing,
            propensity={name: share if name in drawn else 1.0 for name in (c.member.name for c in asked)},
            drawn=frozenset(drawn & _names(asked)),
            reuse=reuse,
        )

    def _reuse(self, snapshot: Snapshot, standing: Standing, route: Route, early: list[GateVerdict]) -> Reuse:
        failed = {it.gate for it in early if not it.is_passed}
        return choose_reuse(
            self._policy,
            standing.earlier,
            _key(snapshot),
            answers_demanded(self._policy.ensemble, route),
            may_ask=not failed & _SPARED_BY_REUSE,
            may_compare=Reason.DAILY_BUDGET not in failed,
            emergency=self._late(standing, route, failed),
        )

    def _late(self, standing: Standing, route: Route, failed: set[Reason]) -> dict[str, EarlierAnswer]:
        # in the cooldown nothing is wrong with anybody
        if failed & {Reason.COOLDOWN, Reason.MARKET_DAY_COUNT}:
            return {}
        unavailable = {name for name, health in self._context.health.items() if not health.is_available}
        is_paid = Reason.DAILY_BUDGET not in failed
        return late_answers(self._mode, self._strategy(route), standing, unavailable, is_paid=is_paid)

    def _early_gates(self, snapshot: Snapshot, standing: Standing) -> list[GateVerdict]:
        gates, context, market = self._policy.gates, self._context, snapshot.market
        last = standing.last_analysis_at
        rest_h = None if last is None else (context.now - last) / timedelta(hours=1)
        volume = snapshot.quote.volume
        is_open = market.status is MarketStatus.ACTIVE and context.now < market.closes_at
        return [
            GateVerdict(Reason.NOT_OPEN, is_open, {"status": market.status, "closes_at": market.closes_at.isoformat()}),
            self._allowed_by_mode(standing),
            GateVerdict(
                Reason.DAILY_BUDGET,
                # what has begun may finish
                self._spend.may_begin or bool(standing.heard),
                {"committed_micro_usd": self._spend.committed, "limit_micro_usd": self._spend.new_analyses_below},
            ),
            GateVerdict(
                Reason.COOLDOWN,
                rest_h is None or rest_h >= gates.cooldown_hours,
                {"hours_since_last": rest_h, "cooldown_hours": gates.cooldown_hours},
            ),
            GateVerdict(
                Reason.MARKET_DAY_COUNT,
                standing.analyses_today < gates.analyses_per_day,
                {"analyses_today": standing.analyses_today, "analyses_per_day": gates.analyses_per_day},
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

    def _allowed_by_mode(self, standing: Standing) -> GateVerdict:
        step = Step.INCREASE if standing.is_held else Step.OPEN
        numbers = {"mode": self._context.operating_mode, **({"step": step} if standing.is_held else {})}
        return GateVerdict(Reason.EMERGENCY_MODE, self._mode.allows(step), numbers)

    def _near_expiry(self, hours_left: float) -> GateVerdict:
        limit = self._policy.gates.near_expiry_hours
        numbers = {"hours_left": hours_left, "near_expiry_hours": limit, "is_shortcut": int(hours_left <= limit)}
        return GateVerdict(Reason.NEAR_EXPIRY, is_passed=True, numbers=numbers)

    def _payable(self, wanted: list[Candidate], standing: Standing) -> list[Candidate]:
        """Those that every limit can pay, one after the other, in their order."""
        calls = [PlannedCall(it.member.name, it.member.provider, it.worst_case_micro_usd) for it in wanted]
        paid = CostOptimizer.enforce_budget_limits(calls, self._spend, standing.committed_micro_usd)
        names = {call.model_id for call in paid}
        return [candidate for candidate in wanted if candidate.member.name in names]

    def _budget(self, candidates: list[Candidate], chosen: list[Candidate], standing: Standing) -> GateVerdict:
        limits = self._spend.limits
        return GateVerdict(
            Reason.DECISION_BUDGET,
            bool(chosen),
            {
                "chosen": len(chosen),
                "worst_case_micro_usd": sum(candidate.worst_case_micro_usd for candidate in chosen),
                "cheapest_micro_usd": min(candidate.worst_case_micro_usd for candidate in candidates),
                "decision_limit_micro_usd": limits.decision,
                "market_committed_micro_usd": standing.committed_micro_usd,
                "market_limit_micro_usd": limits.market_day,
                "day_committed_micro_usd": self._spend.committed,
                "day_limit_micro_usd": limits.day_hard,
            },
        )

    def _route_taken(self, route: Route, value: int) -> GateVerdict:
        options = self._policy.ensemble
        return GateVerdict(
            Reason.ROUTE,
            is_passed=True,
            numbers={
                "route": route,
                "method": self._context.method,
                "trade_value_micro_usd": value,
                "single_below_usd": float(options.cascade_single_below_usd),
                "enhanced_above_usd": float(options.cascade_enhanced_above_usd),
            },
        )

    def _trade_value(self, snapshot: Snapshot, cash: int) -> int:
        sizing, quote = self._policy.sizing, snapshot.quote
        most = int(sizing.bankroll_usd * MICRO_PER_USD * Decimal(str(sizing.max_market_share)))
        if quote.volume is not None:
            mid = 0.5 if quote.mid is None else quote.mid
            # to the sixth digit, which no mid needs, so that a market and its mirror image are worth the same
            dearer = Decimal(str(round(max(mid, 1 - mid), 6)))
            by_volume = quote.volume * Decimal(str(sizing.max_volume_share)) * dearer * MICRO_PER_USD
            most = min(most, int(by_volume))
        return max(0, min(most, cash))

    def _route(self, value: int, hours_left: float) -> Route:
        options, method = self._policy.ensemble, self._context.method
        is_near = hours_left <= self._policy.gates.near_expiry_hours
        if method is Method.SINGLE or self._mode.is_single or is_near:
            return Route.SINGLE
        if method is Method.AGREEMENT:
            return Route.PAIR
        if not self._policy.methods.cascading:
            return Route.FULL
        if value < options.cascade_single_below_usd * MICRO_PER_USD:
            return Route.SINGLE
        return Route.ENHANCED if value > options.cascade_enhanced_above_usd * MICRO_PER_USD else Route.FULL

    def _strategy(self, route: Route) -> Strategy:
        if route is Route.ENHANCED and self._policy.methods.uncertainty_aware:
            return Strategy.UNCERTAINTY_AWARE
        if route in (Route.SINGLE, Route.PAIR):
            return Strategy.WEIGHTED_VOTING
        return self._policy.ensemble.strategy

    def _candidates(self, snapshot: Snapshot, standing: Standing, value: int, reuse: Reuse) -> list[Candidate]:
        """Who could be asked, best utility first; where everybody is asked, those that do not answer come last.

        What is given again costs nothing; where earlier answers decide alone, nobody else is there. Who cannot be asked
        and gives an earlier answer in an emergency comes after those that can, the youngest answer first.
        """
        worst = {**standing.worst_case_micro_usd, **dict.fromkeys(reuse.given, 0)}
        open_to = worst.keys() & reuse.names if reuse.is_only else worst.keys()
        priced = [
            (it, worst[it.name])
            for it in self._policy.enabled_members
            if it.name in open_to and it.name not in self._context.disputed
        ]
        present = [it for it in priced if it[0].name not in reuse.emergency]
        candidates = self._selector.order(present, conditions_of(snapshot), value)
        if self._policy.ensemble.member_policy == "all":
            return [*candidates, *_unavailable(priced, candidates)]
        absent = [
            Candidate(it, 0, {}, {}, is_deselected=it.name in self._context.degraded, is_absent=True)
            for it, _ in priced
            if it.name in reuse.emergency
        ]
        return [*candidates, *sorted(absent, key=lambda it: (reuse.given[it.member.name].age_s, it.member.name))]

    def _chosen(self, snapshot: Snapshot, payable: list[Candidate], route: Route, value: int) -> list[Candidate]:
        if self._policy.ensemble.member_policy == "all":
            return payable
        if route is Route.SINGLE:
            present = [(it.member, it.worst_case_micro_usd) for it in payable if not it.is_absent]
            best = self._selector.select_optimal_model(present, conditions_of(snapshot), value)
            return payable[:1] if best is None else [best]
        return payable[:2] if route is Route.PAIR else self._as_many_as_money_allows(payable, route)

    def _as_many_as_money_allows(self, payable: list[Candidate], route: Route) -> list[Candidate]:
        """The best up to the usual number; the scarcer money is, the fewer that cost something.

        Never fewer than a decision needs, and as many that are free as there are.
        """
        options = self._policy.ensemble
        free = sum(not it.worst_case_micro_usd for it in payable)
        fewer = math.ceil(round(options.max_members * (1 - self._pressure), 9))
        may_cost = max(fewer, answers_demanded(options, route) - free)
        dear = [it for it in payable if it.worst_case_micro_usd][may_cost:]
        return [it for it in payable if it not in dear][: options.max_members]

    def _explored(self, snapshot: Snapshot, candidates: list[Candidate], chosen: list[Candidate]) -> list[Candidate]:
        """Who is asked besides, to be heard of again."""
        if not chosen or self._context.method is Method.SINGLE or self._policy.ensemble.member_policy == "all":
            return []
        return self._selector.explored([it for it in candidates if not it.is_absent], chosen, _key(snapshot))

    def _may_ask(self, verdicts: list[GateVerdict]) -> bool:
        failed = {verdict.gate for verdict in verdicts if not verdict.is_passed}
        if self._policy.ensemble.member_policy == "all":
            return not failed & (_HARD_GATES | {Reason.DECISION_BUDGET})
        return not failed


def _key(snapshot: Snapshot) -> str:
    """What the draws about a market depend on."""
    return f"{snapshot.market.market_id}|{snapshot.quote.observed_at.isoformat()}"


def _passed_by_reuse(early: list[GateVerdict], reuse: Reuse) -> list[GateVerdict]:
    """Gates that spare money let pass what asks nobody."""
    if not reuse.is_only:
        return early
    return [
        replace(it, is_passed=True, numbers={**it.numbers, "earlier_answers": len(reuse.names)})
        if it.gate in _SPARED_BY_REUSE and not it.is_passed
        else it
        for it in early
    ]


def answers_demanded(options: EnsembleSettings, route: Route) -> int:
    """Without so many answers a decision on this route does not trade."""
    demanded = {Route.PAIR: 2, Route.FULL: options.min_answers, Route.ENHANCED: options.min_answers_enhanced}
    return demanded.get(route, 1)


def _names(candidates: list[Candidate]) -> set[str]:
    return {candidate.member.name for candidate in candidates}


def _fit(candidates: list[Candidate]) -> list[Candidate]:
    """Who may be chosen: of those that can be asked, and after them of those that cannot."""
    present, absent = ([it for it in candidates if it.is_absent is wanted] for wanted in (False, True))
    return [*fit(present), *fit(absent)]


def _unavailable(priced: list[tuple[MemberSettings, int]], candidates: list[Candidate]) -> list[Candidate]:
    """Who is asked last, where everybody is asked."""
    available = _names(candidates)
    rest = sorted((it for it in priced if it[0].name not in available), key=lambda it: it[0].name)
    return [Candidate(member, cost, {}, {}) for member, cost in rest]
