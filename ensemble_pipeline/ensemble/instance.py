"""What every function of this floor works with: the settings, the database and the clock of one instance."""

from dataclasses import dataclass

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.settings import Policy, Settings, UsdLimit
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
        return limits_of(self.settings.policy)

    @property
    def bankroll_micro_usd(self) -> int:
        """Paper money at the start."""
        return int(self.settings.sizing.bankroll_usd * MICRO_PER_USD)


def limits_of(policy: Policy) -> Limits:
    """The limits of a policy in micro-dollars."""
    budget = policy.budget
    return Limits(
        day_soft=_micro(budget.day_soft_usd),
        day_hard=_micro(budget.day_hard_usd),
        decision=_micro(budget.decision_usd),
        market_day=_micro(budget.market_day_usd),
        providers={name: _micro(limit) for name, limit in budget.provider_day_usd.items()},
        models={member.name: _micro(member.day_usd) for member in policy.members},
    )


def _micro(limit: UsdLimit) -> int | None:
    return None if limit == "unlimited" else int(limit * MICRO_PER_USD)
