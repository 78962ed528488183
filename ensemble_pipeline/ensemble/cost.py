"""What answers cost, what the day has cost, and whom the remaining money can pay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.spend import PlannedCall, SpendStatus
from ensemble_pipeline.store import budget, monitoring


@dataclass(frozen=True, slots=True)
class CostEfficiency:
    """One model's calls over some days, in micro-dollars."""

    model_id: str
    calls: int
    failed: int
    cost_micro_usd: int

    @property
    def cost_per_answer_micro_usd(self) -> float | None:
        """Cost of one usable answer, failures included; ``None`` where there was none."""
        answered = self.calls - self.failed
        return self.cost_micro_usd / answered if answered else None


class CostOptimizer:
    """Reads the ledger; decides who can be paid."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def monitor_spend(self, day: date | None = None) -> SpendStatus:
        """The accounts of a UTC day against their limits, by default today's as the clock has it."""
        wanted = day or self._instance.clock.now().date()
        with self._instance.database.connection() as connection:
            return SpendStatus(budget.day_spend(connection, wanted), self._instance.limits)

    def record_status(self) -> SpendStatus:
        """Read the day's budget and keep the reading; what a crash left held is closed as spent first."""
        now = self._instance.clock.now()
        with self._instance.database.connection() as connection:
            budget.expire_abandoned(connection, now)
        status = self.monitor_spend()
        with self._instance.database.connection() as connection:
            monitoring.save_budget_status(connection, status.spend, status.limits, now)
        return status

    @staticmethod
    def enforce_budget_limits(
        wanted: Sequence[PlannedCall], status: SpendStatus, market_committed: int = 0
    ) -> list[PlannedCall]:
        """Those of the calls, taken in this order, that every limit they concern can pay.

        This only plans; the reservation before each call is what cannot be overshot.

        Args:
            wanted: Calls about one market, the most wanted first.
            status: The day's accounts.
            market_committed: Spent and held on this market today, in micro-dollars.
        """
        return status.payable(wanted, market_committed)

    def calculate_cost_efficiency(self, days: int = 30) -> list[CostEfficiency]:
        """Rebuild the cost report of the last `days` days, and return it by model, dearest first."""
        last = self._instance.clock.now().date()
        with self._instance.database.connection() as connection:
            rows = monitoring.replace_cost_report(connection, last - timedelta(days=days - 1), last)
        return [CostEfficiency(**row) for row in rows]
