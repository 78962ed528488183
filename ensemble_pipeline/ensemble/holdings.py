"""On what paper orders are filled: the operating mode in force and the portfolio.

Read when a batch is sized and once more when it is recorded: a mode may be put in force meanwhile, and other processes
may open and close positions. Belongs here: reading both together. Does not: what they allow (modes.py, ordering.py).
"""

from dataclasses import dataclass, replace
from datetime import datetime

from ensemble_pipeline.domain import Market, Mode
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.operating import mode_in_force
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.decisions import EnsembleDecision, portfolio
from ensemble_pipeline.store.portfolio import Portfolio


@dataclass(frozen=True, slots=True)
class Holdings:
    """The portfolio that the last order leaves; `mode` as in `Filling`."""

    mode: Mode | None
    portfolio: Portfolio

    @classmethod
    def read(cls, connection: Connection, instance: Instance, context: BatchContext, now: datetime) -> "Holdings":
        """As they stand at `now` for a batch that was planned before."""
        planned, found = Mode(context.operating_mode), mode_in_force(connection, now).mode
        mode = found if found.severity > planned.severity else None
        counted = (mode or planned).and_worse
        return cls(mode, portfolio(connection, instance.bankroll_micro_usd, context.now, counted))

    def after(self, market: Market, decision: EnsembleDecision) -> "Holdings":
        """The same once `decision` is filled."""
        if not decision.stake_micro_usd:
            return self
        held = self.portfolio.after(market, decision.stake_micro_usd, decision.fee_micro_usd)
        return replace(self, portfolio=held)
