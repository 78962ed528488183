"""After the answers: the gates that need them, the size, and the decision with everything it rested on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from ensemble_pipeline.domain import MICRO_PER_USD, Action, GateVerdict, MemberOpinion, Quote, Reason, Side
from ensemble_pipeline.ensemble.engine import Consensus
from ensemble_pipeline.ensemble.fallback import STAKE_SHARE
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.plan import BatchContext, Plan, Route
from ensemble_pipeline.forecasting.sizing import edge, stake_fraction
from ensemble_pipeline.settings import GateSettings
from ensemble_pipeline.store.decisions import EnsembleDecision, Portfolio
from ensemble_pipeline.venues.kalshi.fees import taker_fee_usd

# an enhanced consensus (largest trade values) demands this much more confidence
_ENHANCED_CONFIDENCE = 0.1


@dataclass(frozen=True, slots=True)
class Offer:
    """What the book offers on one side: price of a contract, price with the fee, our chance to win it, contracts there.

    `depth` is ``None`` where the venue does not say how many contracts rest at the price.
    """

    side: Side
    price: Decimal
    all_in: float
    p_win: float
    depth: Decimal | None

    @property
    def edge(self) -> float:
        """Expected profit per contract, in dollars."""
        return edge(self.p_win, self.all_in)


@dataclass(frozen=True, slots=True)
class Order:
    """A sized paper order, in micro-dollars."""

    offer: Offer
    contracts: int
    stake_micro_usd: int
    fee_micro_usd: int


def conclude(
    instance: Instance,
    context: BatchContext,
    plan: Plan,
    consensus: Consensus | None,
    quote: Quote,
    held: Portfolio,
) -> EnsembleDecision:
    """Pass one plan through the remaining gates, in the order of the mission; the first that fails is the reason.

    `quote` is the book as it stands now, on which the paper order would be filled.
    """
    verdicts = list(plan.verdicts)
    order = None
    if plan.members:
        verdicts.append(GateVerdict(Reason.NO_ANSWER, consensus is not None, {"asked": len(plan.members)}))
    if consensus is not None and plan.refusal is None:
        later, order = _later_gates(instance, context, plan, consensus, quote, held)
        verdicts.extend(later)
    refusal = next((verdict.gate for verdict in verdicts if not verdict.is_passed), None)
    return _decision(context, plan, consensus, verdicts, order if refusal is None else None, refusal or Reason.TRADED)


def _later_gates(
    instance: Instance,
    context: BatchContext,
    plan: Plan,
    consensus: Consensus,
    quote: Quote,
    held: Portfolio,
) -> tuple[list[GateVerdict], Order | None]:
    gates = instance.settings.gates
    adjusted = adjusted_confidence(consensus, gates)
    offer = best_offer(quote, consensus.p_final)
    verdicts = [
        GateVerdict(
            Reason.DISAGREEMENT,
            consensus.disagreement_level <= gates.max_disagreement,
            {"disagreement": consensus.disagreement_level, "max_disagreement": gates.max_disagreement},
        ),
        _confidence_gate(consensus, adjusted, plan.route, gates),
        GateVerdict(Reason.NO_QUOTE, offer is not None, _book(quote)),
        GateVerdict(Reason.CROSSED_BOOK, not quote.is_crossed, _book(quote)),
    ]
    if not all(verdict.is_passed for verdict in verdicts) or offer is None:
        return verdicts, None
    demanded = demanded_edge(adjusted, gates)
    numbers = {"edge": offer.edge, "demanded_edge": demanded, "all_in_price": offer.all_in, "p_win": offer.p_win}
    verdicts.append(GateVerdict(Reason.EDGE, offer.edge >= demanded, numbers))
    if not verdicts[-1].is_passed:
        return verdicts, None
    sizing, order = _size(instance, context, plan, consensus, held, offer)
    return [*verdicts, *sizing], order


def adjusted_confidence(consensus: Consensus, gates: GateSettings) -> float:
    """Confidence less the uncertainty penalty, never below the floor."""
    return max(gates.confidence_floor, consensus.confidence - gates.uncertainty_penalty * consensus.uncertainty)


def demanded_edge(confidence: float, gates: GateSettings) -> float:
    """The edge that a confidence band demands, in dollars per contract."""
    if confidence >= 0.8:
        return gates.min_edge_high
    return gates.min_edge_middle if confidence >= 0.6 else gates.min_edge_low


def _confidence_gate(consensus: Consensus, adjusted: float, route: Route, gates: GateSettings) -> GateVerdict:
    extra = _ENHANCED_CONFIDENCE if route is Route.ENHANCED else 0.0
    if consensus.disagreement_level > gates.high_disagreement:
        extra += _ENHANCED_CONFIDENCE
    demanded = min(1.0, gates.min_confidence + extra)
    numbers = {"confidence": adjusted, "stated": consensus.confidence, "demanded": demanded}
    return GateVerdict(Reason.CONFIDENCE, adjusted >= demanded, numbers)


def best_offer(quote: Quote, p_yes: float) -> Offer | None:
    """The side with the larger edge after the fee; ``None`` where the book offers neither."""
    offers = []
    if quote.yes_ask is not None and 0 < quote.yes_ask < 1:
        offers.append(_offer(Side.YES, quote.yes_ask, p_yes, quote.yes_ask_size))
    if quote.yes_bid is not None and 0 < quote.yes_bid < 1:
        offers.append(_offer(Side.NO, 1 - quote.yes_bid, 1 - p_yes, quote.yes_bid_size))
    return max(offers, key=lambda offer: offer.edge, default=None)


def _book(quote: Quote) -> dict[str, str | None]:
    return {
        "yes_bid": None if quote.yes_bid is None else str(quote.yes_bid),
        "yes_ask": None if quote.yes_ask is None else str(quote.yes_ask),
    }


def _shown(depth: Decimal | None) -> str | None:
    return None if depth is None else str(depth)


def _offer(side: Side, price: Decimal, p_win: float, depth: Decimal | None) -> Offer:
    # the fee of 100 contracts, so that rounding up once per order weighs as it does in practice
    fee = taker_fee_usd(price, Decimal(100)) / 100
    return Offer(side, price, min(float(price + fee), 1.0 - 1e-9), p_win, depth)


def _size(
    instance: Instance, context: BatchContext, plan: Plan, consensus: Consensus, held: Portfolio, offer: Offer
) -> tuple[list[GateVerdict], Order | None]:
    sizing, bankroll = instance.settings.sizing, instance.bankroll_micro_usd
    market = plan.snapshot.market
    share = stake_fraction(offer.p_win, offer.all_in, sizing.kelly_fraction, consensus.uncertainty)
    wanted = int(bankroll * share * STAKE_SHARE[context.operating_mode])
    caps = {
        "trade_value": plan.trade_value_micro_usd,
        "market": int(bankroll * sizing.max_market_share) - held.staked_by_market.get(market.market_id, 0),
        "event": int(bankroll * sizing.max_event_share) - held.staked_by_event.get(market.event_id, 0),
        "day": int(bankroll * sizing.max_day_share) - held.staked_today,
    }
    stake = max(0, min(wanted, *caps.values()))
    contracts = int(stake / (offer.all_in * MICRO_PER_USD))
    if offer.depth is not None:
        contracts = min(contracts, int(offer.depth))
    numbers = {"wanted_micro_usd": wanted, "kelly_share": share, "contracts_offered": _shown(offer.depth), **caps}
    size = GateVerdict(Reason.SIZE, contracts >= 1, numbers)
    room = held.open_positions < sizing.max_open_positions and market.market_id not in held.staked_by_market
    limit = GateVerdict(
        Reason.POSITION_LIMIT,
        room,
        {"open_positions": held.open_positions, "max_open_positions": sizing.max_open_positions},
    )
    if contracts < 1:
        return [size], None
    order = Order(
        offer,
        contracts,
        int(offer.price * contracts * MICRO_PER_USD),
        int(taker_fee_usd(offer.price, Decimal(contracts)) * MICRO_PER_USD),
    )
    reserve = int(bankroll * sizing.cash_reserve_share)
    left = held.cash - order.stake_micro_usd - order.fee_micro_usd
    cash = GateVerdict(Reason.CASH_RESERVE, left >= reserve, {"cash_after": left, "cash_reserve": reserve})
    return [size, limit, cash], order


def _decision(
    context: BatchContext,
    plan: Plan,
    consensus: Consensus | None,
    verdicts: Sequence[GateVerdict],
    order: Order | None,
    reason: Reason,
) -> EnsembleDecision:
    asked = tuple(MemberOpinion(member.name, None, None, None, 0.0) for member in plan.members)
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
        strategy=plan.route,
        trade_value_micro_usd=plan.trade_value_micro_usd,
        p_market=plan.snapshot.quote.mid,
        **_probabilities(consensus),
        edge=None if order is None else order.offer.edge,
        limit_price=None if order is None else order.offer.price,
        contracts=None if order is None else order.contracts,
        stake_micro_usd=0 if order is None else order.stake_micro_usd,
        fee_micro_usd=0 if order is None else order.fee_micro_usd,
        selected_model=heaviest.model_id if heaviest is not None and consensus is not None else None,
        reasoning=_reasoning(plan, consensus, reason),
        gates=tuple(verdicts),
        members=members,
        ranking_id=context.ranking.ranking_id,
        calibration_id=context.calibration.calibration_id,
        settings_hash=context.settings_hash,
        code_version=context.code_version,
    )


def _probabilities(consensus: Consensus | None) -> dict[str, float | None]:
    names = ("p_plain_mean", "p_pooled", "p_calibrated", "p_final", "disagreement_level", "uncertainty", "confidence")
    return {name: None if consensus is None else getattr(consensus, name) for name in names}


def _reasoning(plan: Plan, consensus: Consensus | None, reason: Reason) -> str:
    if consensus is None:
        return f"{plan.route}: ended at {reason} before anyone was heard"
    answered = sum(member.p_yes is not None for member in consensus.members)
    price = plan.snapshot.quote.mid
    against = "no price known" if price is None else f"market {price:.3f}"
    return (
        f"{plan.route}: {answered} of {len(consensus.members)} members pooled to {consensus.p_pooled:.3f}, "
        f"calibrated {consensus.p_calibrated:.3f}, {against}, final {consensus.p_final:.3f}; ended at {reason}"
    )


def after(order: EnsembleDecision, event_id: str, held: Portfolio) -> Portfolio:
    """The paper portfolio once `order` is taken, for the next decision of the batch."""
    if order.action is Action.SKIP:
        return held
    stake = order.stake_micro_usd
    return replace(
        held,
        cash=held.cash - stake - order.fee_micro_usd,
        open_positions=held.open_positions + 1,
        staked_by_market={
            **held.staked_by_market,
            order.market_id: held.staked_by_market.get(order.market_id, 0) + stake,
        },
        staked_by_event={**held.staked_by_event, event_id: held.staked_by_event.get(event_id, 0) + stake},
        staked_today=held.staked_today + stake,
    )
