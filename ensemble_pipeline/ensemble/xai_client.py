"""Decisions on demand about one market: two models that must agree, or the whole ensemble.

Both go through the steps, gates and ledger of every other decision, and are recorded like them.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import fmean

from ensemble_pipeline.domain import Action, Listing, Reason, RequestReason, Route, Side, Snapshot, Strategy
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.context import Method
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.intake import regime_of
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store import chain, markets
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline.store.worlds import note_look
from ensemble_pipeline.venues.base import Venue

_RUN_ID = "on demand"
_HISTORY = 30


@dataclass(frozen=True, slots=True)
class TradingDecision:
    """What to do about one market. `reasoning` begins with the tag of the ensemble that decided; none for one model.

    `confidence` is the mean of the models' own where two had to agree, else the ensemble's; 0 where nobody answered.
    """

    decision_id: int
    market_id: str
    action: Action
    side: Side | None
    confidence: float
    limit_price: Decimal | None
    contracts: int
    p_yes: float | None
    disagreement_level: float | None
    uncertainty: float | None
    route: Route
    strategy: Strategy
    terminal_reason: Reason
    models_consulted: tuple[str, ...]
    reasoning: str

    @classmethod
    def of(cls, decision_id: int, decision: EnsembleDecision) -> "TradingDecision":
        """The decision as its caller needs it."""
        return cls(
            decision_id=decision_id,
            market_id=decision.market_id,
            action=decision.action,
            side=decision.side,
            confidence=_confidence(decision),
            limit_price=decision.limit_price,
            contracts=decision.contracts or 0,
            p_yes=decision.p_final,
            disagreement_level=decision.disagreement_level,
            uncertainty=decision.uncertainty,
            route=decision.route,
            strategy=decision.strategy,
            terminal_reason=decision.terminal_reason,
            models_consulted=decision.models_consulted,
            reasoning=decision.reasoning,
        )


class XAIClient:
    """Decides about single markets when asked to, over one instance and venue."""

    def __init__(self, instance: Instance, venue: Venue) -> None:
        self._instance = instance
        self._venue = venue

    async def get_ensemble_decision(self, market_id: str) -> TradingDecision:
        """Two models must agree on action and side, each with confidence 0.6 or more; otherwise no trade.

        With `multi_model_ensemble` or `methods.agreement` off, one model decides.

        Raises:
            InputError: the market was never listed, or the venue lists it no more.
            VenueError: the venue's answer cannot be used, or (``VenueUnavailableError``) there is none.
        """
        return await self._decide(market_id, Method.AGREEMENT)

    async def get_advanced_ensemble_decision(self, market_id: str) -> TradingDecision:
        """The ensemble decides, with as many models and the strategy that the trade value carries.

        With `methods.advanced` off this is `get_ensemble_decision`. Errors are the same.
        """
        return await self._decide(market_id, Method.ADVANCED)

    async def _decide(self, market_id: str, method: Method) -> TradingDecision:
        snapshot = await self._look(market_id)
        with self._instance.database.connection() as connection:
            batch_id = markets.open_batch(connection, [snapshot.snapshot_id], self._instance.clock.now())
        _, waiting = decide.load(self._instance, batch_id)
        context, plans = decide.plan(self._instance, waiting, batch_id, _RUN_ID, method)
        asked = await decide.consult(self._instance, context, plans)
        plans = asked.still_open(plans)
        opinions = decide.combine(self._instance, context, plans)
        made = await decide.size(self._instance, self._venue, context, plans, opinions)
        decide.record(self._instance, context, made)
        return self._recorded(snapshot.snapshot_id)

    async def _look(self, market_id: str) -> Snapshot:
        """Record the market as it stands now; a second look at the same instant finds the first."""
        with self._instance.database.connection() as connection:
            market = markets.market_by_id(connection, market_id)
        if market is None:
            raise InputError(
                f"market {market_id!r} is not known here: it becomes known when `market_sensor` first reads it at the "
                "venue. Name it as `venue:ticker`, such as `kalshi:KXRAIN-26DEC01`"
            )
        quote = (await self._venue.quotes([market.ticker])).get(market.ticker)
        if quote is None:
            raise InputError(f"{market.venue} does not list {market.ticker} any more; there is nothing to decide about")
        now = self._instance.clock.now()
        listing = Listing(market, replace(quote, observed_at=now))
        with self._instance.database.connection() as connection:
            note_look(connection, "quotes", now)
            history = markets.price_history(connection, [market_id], _HISTORY).get(market_id, [])
            regime = regime_of(history, listing.quote)
            snapshot_id = markets.save_snapshot(connection, listing, RequestReason.ASKED, regime)
            if snapshot_id is None:
                snapshot_id = markets.snapshot_at(connection, market_id, now)
        if snapshot_id is None:
            raise InputError(f"{market_id} could not be looked at twice at {now.isoformat()}; ask again")
        return Snapshot(snapshot_id, market, listing.quote, RequestReason.ASKED, regime)

    def _recorded(self, snapshot_id: int) -> TradingDecision:
        with self._instance.database.connection() as connection:
            decision_id = chain.decision_on(connection, snapshot_id)
            decision = chain.load_decision(connection, decision_id)
        return TradingDecision.of(decision_id, decision)


def _confidence(decision: EnsembleDecision) -> float:
    stated = [member.confidence for member in decision.members if member.confidence is not None]
    if decision.route is Route.PAIR and stated:
        return fmean(stated)
    return decision.confidence or 0.0
