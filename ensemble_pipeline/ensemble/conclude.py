"""After the answers: the gates that need them, the size, and the decision with everything it rested on.

Pure: everything it needs is handed in, so that the same decision can be made again years later.
"""

from collections.abc import Iterator, Sequence

from ensemble_pipeline.domain import Action, GateVerdict, MemberOpinion, Quote, Reason, Route, Side
from ensemble_pipeline.ensemble.context import BatchContext, Filling
from ensemble_pipeline.ensemble.engine import Consensus
from ensemble_pipeline.ensemble.late import heard_late, price_stands
from ensemble_pipeline.ensemble.modes import Row, Step, row_of
from ensemble_pipeline.ensemble.offers import Offer, best_offer, demanded_edge, stance
from ensemble_pipeline.ensemble.ordering import Order, Sizer
from ensemble_pipeline.ensemble.plan import Plan, answers_demanded
from ensemble_pipeline.ensemble.stored import inputs_of
from ensemble_pipeline.forecasting.pooling import anchor_to_price
from ensemble_pipeline.settings import GateSettings, Policy
from ensemble_pipeline.store.decisions import EnsembleDecision

TAGS = {
    Route.PAIR: "[MULTI-AGENT ENSEMBLE] ",
    Route.FULL: "[ADVANCED ENSEMBLE] ",
    Route.ENHANCED: "[ADVANCED ENSEMBLE] ",
}

EMERGENCY_TAG = "[EMERGENCY: EARLIER ANSWERS] "

# an enhanced consensus (largest trade values) demands this much more confidence
_ENHANCED_CONFIDENCE = 0.1


def conclude(
    policy: Policy, context: BatchContext, plan: Plan, consensus: Consensus | None, filling: Filling
) -> EnsembleDecision:
    """Pass one plan through the remaining gates, in the order of the mission; the first that fails is the reason."""
    verdicts = list(plan.verdicts)
    order = None
    if plan.members:
        verdicts.extend(_heard(plan, consensus, filling))
    if consensus is not None and plan.refusal is None:
        later, order = _Gates(policy, context, plan, consensus, filling).pass_all()
        verdicts.extend(later)
    refusal = next((verdict.gate for verdict in verdicts if not verdict.is_passed), None)
    if refusal is not None:
        order = None
    return _decision(context, plan, consensus, verdicts, order, refusal or Reason.TRADED, filling)


def _heard(plan: Plan, consensus: Consensus | None, filling: Filling) -> Iterator[GateVerdict]:
    """Whether anybody answered; where nobody could be paid, that is the reason."""
    if filling.refused:
        numbers: dict[str, float | int | str | None] = {"refused": len(filling.refused), "asked": len(plan.members)}
        for refusal in filling.refused:
            numbers[refusal.model_id] = (
                f"{refusal.scope}: {refusal.asked_micro_usd} asked, {refusal.spent_micro_usd} spent, "
                f"{refusal.held_micro_usd} held of {refusal.limit_micro_usd}"
            )
        yield GateVerdict(Reason.BUDGET_REFUSED, consensus is not None, numbers)
    yield GateVerdict(Reason.NO_ANSWER, consensus is not None, {"asked": len(plan.members)})


class _Gates:
    """The gates of one market after its members were heard."""

    def __init__(
        self, policy: Policy, context: BatchContext, plan: Plan, consensus: Consensus, filling: Filling
    ) -> None:
        self._policy = policy
        self._context = context
        self._gates = policy.gates
        self._plan = plan
        self._consensus = consensus
        self._filling = filling
        self._mode = row_of(filling.mode or context.operating_mode, policy.modes)
        self._sizer = Sizer(policy.sizing, self._mode, plan.trade_value_micro_usd)
        self._confidence = adjusted_confidence(consensus, policy.gates)

    def pass_all(self) -> tuple[list[GateVerdict], Order | None]:
        """The verdicts up to the first refusal, and the order where there is none."""
        verdicts = []
        for verdict in self._before_size():
            verdicts.append(verdict)
            if not verdict.is_passed:
                return verdicts, None
        offer = best_offer(self._filling.quote, self._anchored_now())
        if offer is None:
            raise AssertionError("a two-sided book within (0, 1) offers both sides")
        verdicts.append(self._edge(offer))
        if not verdicts[-1].is_passed:
            return verdicts, None
        sizing, order = self._sizer.size(offer, self._consensus.uncertainty, self._filling.exposure)
        return [*verdicts, *sizing], order

    def _anchored_now(self) -> float:
        """The forecast anchored to the book that is filled: its price may have moved while the models were asked."""
        mid = self._filling.quote.mid
        if mid is None or mid == self._plan.snapshot.quote.mid:
            return self._consensus.p_final
        options = self._policy.ensemble
        weight = self._context.calibration.market_weight
        return anchor_to_price(self._consensus.p_calibrated, mid, weight, options.clip, options.price_gap_scale)

    def _before_size(self) -> Iterator[GateVerdict]:
        consensus, quote = self._consensus, self._filling.quote
        if self._filling.mode is not None:
            yield self._allowed_by_mode()
        yield self._answers()
        certain = sum(member.p_yes in (0.0, 1.0) for member in consensus.answered)
        # whoever claims certainty gives no odds to bet by; among others the pool takes it for a bold guess
        yield GateVerdict(
            Reason.CERTAINTY,
            certain < len(consensus.answered),
            {"certain": certain, "answers": len(consensus.answered)},
        )
        yield GateVerdict(
            Reason.DISAGREEMENT,
            consensus.disagreement_level <= self._gates.max_disagreement,
            {"disagreement": consensus.disagreement_level, "max_disagreement": self._gates.max_disagreement},
        )
        if self._plan.route is not Route.PAIR:
            # two that must agree are each asked for their confidence below, where the book is known to stand
            yield from self._consent()
            yield self._confident()
        closes_at = self._plan.snapshot.market.closes_at
        yield GateVerdict(
            Reason.CLOSED_MEANWHILE,
            self._filling.at < closes_at,
            {"filled_at": self._filling.at.isoformat(), "closes_at": closes_at.isoformat()},
        )
        sides = [price for price in (quote.yes_bid, quote.yes_ask) if price is not None and 0 < price < 1]
        yield GateVerdict(Reason.NO_QUOTE, bool(sides), _book(quote))
        yield GateVerdict(Reason.ONE_SIDED_BOOK, len(sides) == 2, _book(quote))
        yield GateVerdict(Reason.CROSSED_BOOK, not quote.is_crossed, _book(quote))
        late = heard_late(self._plan, consensus)
        if late:
            yield price_stands(self._plan, late, quote, self._policy.cache)
        if self._plan.route is Route.PAIR:
            yield pair_agrees(consensus, quote, self._policy, self._mode)

    def _allowed_by_mode(self) -> GateVerdict:
        """Whether the mode that was put in force while the models were asked lets it be bought."""
        step = Step.INCREASE if self._filling.exposure.in_market else Step.OPEN
        numbers = {"mode": self._mode.mode, "planned_in": self._context.operating_mode, "step": step}
        return GateVerdict(Reason.MODE_MEANWHILE, self._mode.allows(step), numbers)

    def _answers(self) -> GateVerdict:
        answers = len(self._consensus.answered)
        demanded = answers_demanded(self._policy.ensemble, self._plan.route)
        return GateVerdict(Reason.TOO_FEW_ANSWERS, answers >= demanded, {"answers": answers, "demanded": demanded})

    def _consent(self) -> Iterator[GateVerdict]:
        """Where the members must agree: that they do."""
        if self._consensus.strategy == "consensus":
            threshold = self._policy.ensemble.consensus_threshold
            agreement = self._consensus.agreement
            yield GateVerdict(
                Reason.NO_CONSENSUS, agreement >= threshold, {"agreement": agreement, "threshold": threshold}
            )

    def _confident(self) -> GateVerdict:
        extra = _ENHANCED_CONFIDENCE if self._plan.route is Route.ENHANCED else 0.0
        if self._consensus.disagreement_level > self._gates.high_disagreement:
            extra += _ENHANCED_CONFIDENCE
        extra += self._mode.extra_confidence
        demanded = min(1.0, self._gates.min_confidence + extra)
        numbers = {
            "confidence": self._confidence,
            "stated": self._consensus.confidence,
            "uncertainty": self._consensus.uncertainty,
            "demanded": demanded,
        }
        return GateVerdict(Reason.CONFIDENCE, self._confidence >= demanded, numbers)

    def _edge(self, offer: Offer) -> GateVerdict:
        demanded = demanded_edge(self._confidence, self._gates)
        numbers: dict[str, float | int | str | None] = {
            "edge": offer.edge,
            "demanded_edge": demanded,
            "side": offer.side,
            "price": str(offer.price),
            "all_in_price": offer.all_in,
            "p_win": offer.p_win,
        }
        return GateVerdict(Reason.EDGE, offer.edge >= demanded, numbers)


def adjusted_confidence(consensus: Consensus, gates: GateSettings) -> float:
    """Confidence less the uncertainty penalty, never below the floor."""
    return max(gates.confidence_floor, consensus.confidence - gates.uncertainty_penalty * consensus.uncertainty)


def pair_agrees(consensus: Consensus, quote: Quote, policy: Policy, mode: Row) -> GateVerdict:
    """Whether two members would each trade, on the same side, each as confident as the mode demands."""
    stances: list[tuple[Action, Side | None]] = []
    demanded = min(1.0, policy.ensemble.agreement_confidence + mode.extra_confidence)
    numbers: dict[str, float | int | str | None] = {"demanded_confidence": demanded}
    is_confident = True
    for member in consensus.answered:
        if member.p_yes is None or member.confidence is None:
            continue
        action, side = stance(quote, member.p_yes, member.confidence, policy.gates)
        stances.append((action, side))
        is_confident &= member.confidence >= demanded
        numbers[member.model_id] = f"{action} {side or ''} {member.p_yes} {member.confidence}"
    agree = len(stances) >= 2 and len(set(stances)) == 1 and stances[0][0] is Action.TRADE
    return GateVerdict(Reason.NO_CONSENSUS, agree and is_confident, numbers)


def _book(quote: Quote) -> dict[str, str | None]:
    return {
        "yes_bid": None if quote.yes_bid is None else str(quote.yes_bid),
        "yes_ask": None if quote.yes_ask is None else str(quote.yes_ask),
    }


def _decision(
    context: BatchContext,
    plan: Plan,
    consensus: Consensus | None,
    verdicts: Sequence[GateVerdict],
    order: Order | None,
    reason: Reason,
    filling: Filling,
) -> EnsembleDecision:
    asked = tuple(
        MemberOpinion(name, None, None, None, 0.0, plan.propensity.get(name))
        for name in sorted(member.name for member in plan.members)
    )
    members = asked if consensus is None else consensus.members
    heaviest = max(members, key=lambda member: (member.weight, member.model_id), default=None)
    return EnsembleDecision(
        snapshot_id=plan.snapshot.snapshot_id,
        market_id=plan.snapshot.market.market_id,
        decided_at=context.now,
        batch_id=context.batch_id,
        run_id=context.run_id,
        action=Action.SKIP if order is None else Action.TRADE,
        side=None if order is None else order.offer.side,
        terminal_reason=reason,
        route=plan.route,
        strategy=plan.strategy if consensus is None else consensus.strategy,
        trade_value_micro_usd=plan.trade_value_micro_usd,
        p_market=plan.snapshot.quote.mid,
        **_of_consensus(consensus),
        edge=None if order is None else order.offer.edge,
        limit_price=None if order is None else order.offer.price,
        contracts=None if order is None else order.contracts,
        stake_micro_usd=0 if order is None else order.stake_micro_usd,
        fee_micro_usd=0 if order is None else order.fee_micro_usd,
        selected_model=heaviest.model_id if heaviest is not None and consensus is not None else None,
        reasoning=_reasoning(plan, consensus, reason),
        gates=tuple(verdicts),
        members=members,
        inputs=inputs_of(plan.snapshot, plan.standing, filling),
        context_id=context.context_id,
        ranking_id=context.ranking.ranking_id,
        calibration_id=context.calibration.calibration_id,
        settings_hash=context.settings_hash,
        code_version=context.code_version,
    )


def _of_consensus(consensus: Consensus | None) -> dict[str, float | None]:
    names = (
        "p_plain_mean",
        "p_pooled",
        "p_calibrated",
        "p_final",
        "market_weight",
        "disagreement_level",
        "uncertainty",
        "confidence",
    )
    return {name: None if consensus is None else getattr(consensus, name) for name in names}


def _reasoning(plan: Plan, consensus: Consensus | None, reason: Reason) -> str:
    tag = TAGS.get(plan.route, "")
    if consensus is not None and heard_late(plan, consensus):
        tag = EMERGENCY_TAG + tag
    if consensus is None:
        return f"{tag}{plan.route}: ended at {reason} before anyone was heard"
    price = plan.snapshot.quote.mid
    against = "no price known" if price is None else f"market {price:.3f}"
    return (
        f"{tag}{plan.route}, {consensus.strategy}: {len(consensus.answered)} of {len(consensus.members)} members pooled"
        f" to {consensus.p_pooled:.3f}, calibrated {consensus.p_calibrated:.3f}, {against}, "
        f"final {consensus.p_final:.3f}; ended at {reason}"
    )
