"""What answers cost, what the day has cost, and whom the remaining money can pay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ensemble_pipeline.ensemble.instance import Instance, limits_of
from ensemble_pipeline.settings import BudgetSettings
from ensemble_pipeline.store import monitoring
from ensemble_pipeline.store.budget import DaySpend, Limits, day_spend

ALERT_SHARES = (0.80, 0.95, 1.00)


@dataclass(frozen=True, slots=True)
class SpendStatus:
    """The day's money: what is spent and held, the limits, and the highest alert share reached (0 for none)."""

    spend: DaySpend
    limits: Limits
    alert_share: float

    @classmethod
    def of(cls, spend: DaySpend, budget: BudgetSettings) -> "SpendStatus":
        """The status of a day under a budget."""
        limits = limits_of(budget)
        return cls(spend, limits, _alert_share(spend, limits.day_hard))

    @property
    def committed(self) -> int:
        """Spent and held, in micro-dollars."""
        return self.spend.spent + self.spend.held

    @property
    def is_soft_limit_reached(self) -> bool:
        """Whether new analyses stop."""
        return self.limits.day_soft is not None and self.committed >= self.limits.day_soft


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
        """The budget of a UTC day, by default today's as the clock has it."""
        wanted = day or self._instance.clock.now().date()
        with self._instance.database.connection() as connection:
            spend = day_spend(connection, wanted)
        return SpendStatus.of(spend, self._instance.settings.budget)

    def record_status(self) -> SpendStatus:
        """Read the day's budget and keep the reading."""
        status = self.monitor_spend()
        with self._instance.database.connection() as connection:
            monitoring.save_budget_status(connection, status.spend, status.limits, self._instance.clock.now())
        return status

    @staticmethod
    def enforce_budget_limits(worst_cases: Sequence[int], status: SpendStatus) -> int:
        """How many of the calls, in this order, can be paid within the decision's and the day's limits.

        This only plans; the reservation before each call is what cannot be overshot.
        """
        day_left = None if status.limits.day_hard is None else status.limits.day_hard - status.committed
        if 0 in (status.limits.decision, status.limits.day_hard):
            return 0
        paid = 0
        for count, worst in enumerate(worst_cases):
            paid += worst
            if any(limit is not None and paid > limit for limit in (status.limits.decision, day_left)):
                return count
        return len(worst_cases)

    def calculate_cost_efficiency(self, days: int = 30) -> list[CostEfficiency]:
        """Rebuild the cost report of the last `days` days, and return it by model, dearest first."""
        last = self._instance.clock.now().date()
        with self._instance.database.connection() as connection:
            rows = monitoring.replace_cost_report(connection, last - timedelta(days=days - 1), last)
        return [CostEfficiency(**row) for row in rows]


def _alert_share(spend: DaySpend, limit: int | None) -> float:
    if limit is None:
        return 0.0
    used = spend.spent + spend.held
    return max((share for share in ALERT_SHARES if used >= share * limit), default=0.0)
