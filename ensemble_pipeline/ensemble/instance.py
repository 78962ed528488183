"""What every function of this floor works with: the settings, the database and the clock of one instance."""

from dataclasses import dataclass

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.settings import BudgetSettings, Settings, UsdLimit
from ensemble_pipeline.store.budget import Limits
from ensemble_pipeline.store.calls import save_models
from ensemble_pipeline.store.database import Connection, Database


@dataclass(frozen=True)
class Instance:
    """One running system."""

    settings: Settings
    database: Database
    clock: Clock

    def register_members(self, connection: Connection) -> tuple[str, ...]:
        """Make the enabled members known to the database; returns their names in order."""
        members = sorted(self.settings.enabled_members, key=lambda member: member.name)
        save_models(connection, [(it.name, it.provider, it.model) for it in members], self.clock.now())
        return tuple(member.name for member in members)

    @property
    def limits(self) -> Limits:
        """The budget limits in micro-dollars."""
        return limits_of(self.settings.budget)

    @property
    def bankroll_micro_usd(self) -> int:
        """Paper money at the start."""
        return int(self.settings.sizing.bankroll_usd * MICRO_PER_USD)


def limits_of(budget: BudgetSettings) -> Limits:
    """The limits of a budget in micro-dollars."""
    return Limits(_micro(budget.day_soft_usd), _micro(budget.day_hard_usd), _micro(budget.decision_usd))


def _micro(limit: UsdLimit) -> int | None:
    return None if limit == "unlimited" else int(limit * MICRO_PER_USD)
