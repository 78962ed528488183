"""``CostOptimizer``: what the day has cost, whom the remaining money can pay, and what a dollar buys from whom.

Belongs here: reading the ledger for whoever plans or reports. Does not: planning itself (spend.py), the formulas of
efficiency (efficiency.py), the report (cost_report.py).
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from ensemble_pipeline.ensemble.efficiency import efficiencies, share_of_worst_case
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.ensemble.spend import PlannedCall, SpendStatus
from ensemble_pipeline.store import budget, monitoring, rankings
from ensemble_pipeline.store import efficiency as stored
from ensemble_pipeline.store.efficiency import Efficiency

LOOK_BACK = timedelta(days=30)


class CostOptimizer:
    """Reads the ledger; knows who can be paid, and who is worth it."""

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

    def calculate_cost_efficiency(self, as_of: datetime | None = None) -> Efficiency:
        """What each model's answers cost in each category over 30 days, and the skill a dollar buys; recorded.

        Args:
            as_of: What is known at this instant counts, and nothing later; default: now.
        """
        at = as_of or self._instance.clock.now()
        ranking = PerformanceTracker(self._instance).get_model_ranking(at)
        with self._instance.database.connection() as connection:
            costs = stored.call_costs(connection, at - LOOK_BACK, at)
            strengths = rankings.strengths_of(connection, ranking.ranking_id)
            levels = rankings.levels_of(connection, ranking.ranking_id)
            rows = efficiencies(costs, ranking, strengths, levels, self._instance.settings.ensemble)
            share = share_of_worst_case(costs)
            return stored.save_efficiency(connection, at, ranking.ranking_id, share, rows)

    def get_cost_efficiency(self, as_of: datetime | None = None) -> Efficiency:
        """The newest reading as of an instant (default: now); before the first one, the first is made."""
        at = as_of or self._instance.clock.now()
        with self._instance.database.connection() as connection:
            found = stored.latest_efficiency(connection, at)
        return found if found is not None else self.calculate_cost_efficiency(at)
