"""Whom to ask: utility of each model from skill, cost, context, speed and health, and an exploration share."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ensemble_pipeline.domain import MICRO_PER_USD, ExpiryBucket, Ranking, Snapshot, VolatilityRegime
from ensemble_pipeline.ensemble.thrift import Thrift, thrift_scores
from ensemble_pipeline.settings import EnsembleSettings, MemberSettings
from ensemble_pipeline.store.efficiency import Efficiency
from ensemble_pipeline.store.health import ModelHealth
from ensemble_pipeline.store.rankings import ModelStrength
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT

Conditions: TypeAlias = Mapping[str, str]
"""Dimension to segment: the category, volatility regime and expiry bucket of a market as it is asked about."""

WEIGHTS = {"performance": 0.40, "cost": 0.20, "context": 0.20, "speed": 0.10, "health": 0.10}

# a Brier advantage of this size over the panel is worth the whole performance share
_FULL_ADVANTAGE = 0.10
# answers within 2 s are as good as instant for a decision, after 30 s they come too late
_FAST_MS, _SLOW_MS = 2_000, 30_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member that could be asked, the parts of its utility and their weights, each in [0, 1].

    `is_deselected`: its accuracy got worse; only an exploration draw asks it. `is_absent`: it cannot be asked, and
    gives an earlier answer again.
    """

    member: MemberSettings
    worst_case_micro_usd: int
    parts: Mapping[str, float]
    weights: Mapping[str, float]
    is_deselected: bool = False
    is_absent: bool = False

    @property
    def utility(self) -> float:
        """Weighted sum of the parts, in [0, 1]."""
        return sum(self.weights[name] * value for name, value in self.parts.items())


class ModelSelector:
    """Orders members by utility. Holds what is known as of one instant; reads nothing itself."""

    def __init__(
        self,
        options: EnsembleSettings,
        ranking: Ranking,
        health: Mapping[str, ModelHealth],
        strengths: Sequence[ModelStrength],
        degraded: frozenset[str] = frozenset(),
        efficiency: Efficiency | None = None,
        pressure: float = 0.0,
    ) -> None:
        """Take what is known; `pressure` says how scarce the day's money is, in [0, 1]."""
        self._options = options
        self._thrift = Thrift(efficiency)
        self._pressure = pressure
        self._skill = {row.model_id: row.skill for row in ranking.rows}
        self._health = health
        self._strengths = {(it.model_id, it.dimension, it.segment): it.skill for it in strengths}
        self._degraded = degraded

    def get_model_health(self, name: str) -> ModelHealth | None:
        """How the model answered lately; ``None`` where it was never asked."""
        return self._health.get(name)

    def order(
        self, members: Sequence[tuple[MemberSettings, int]], conditions: Conditions, trade_value_micro_usd: int
    ) -> list[Candidate]:
        """Available members, best utility first, deselected ones last.

        Args:
            members: each with the worst case of one call in micro-dollars.
            conditions: the segments the market falls in.
            trade_value_micro_usd: what is at stake; the more, the more skill weighs against cost.
        """
        weights = self._weights(conditions, trade_value_micro_usd)
        bought = {
            member.name: self.calculate_performance_cost_ratio(member.name, worst, conditions)
            for member, worst in members
        }
        thrift = thrift_scores(bought)
        candidates = [
            Candidate(
                member,
                worst,
                self._parts(member.name, thrift[member.name], conditions),
                weights,
                is_deselected=member.name in self._degraded,
            )
            for member, worst in members
            if (health := self.get_model_health(member.name)) is None or health.is_available
        ]
        # of two that are equally useful the one whose skill costs less comes first
        return sorted(
            candidates, key=lambda it: (it.is_deselected, -it.utility, -bought[it.member.name], it.member.name)
        )

    def select_optimal_model(
        self, members: Sequence[tuple[MemberSettings, int]], conditions: Conditions, trade_value_micro_usd: int
    ) -> Candidate | None:
        """The member with the highest utility, or ``None`` where nobody is available."""
        return next(iter(fit(self.order(members, conditions, trade_value_micro_usd))), None)

    def calculate_performance_cost_ratio(self, name: str, worst_case_micro_usd: int, conditions: Conditions) -> float:
        """Skill that a dollar spent on the model buys, in Brier points over the base rate; ``inf`` where it is free.

        From what its answers cost and gained in the market's category; where it was never asked, from its worst case
        and the panel's gain.
        """
        return self._thrift.gain_per_usd(name, conditions.get("category", EVERY_SEGMENT), worst_case_micro_usd)

    @property
    def exploration_share(self) -> float:
        """Chance that a member outside the selection is asked too; the scarcer money is, the less is explored."""
        return self._options.exploration_share * (1 - self._pressure)

    def explored(self, candidates: Sequence[Candidate], chosen: Sequence[Candidate], key: str) -> list[Candidate]:
        """Candidates outside `chosen` that are asked all the same, each with the exploration share's chance."""
        share, names = self.exploration_share, {candidate.member.name for candidate in chosen}
        return [c for c in candidates if c.member.name not in names and draw(f"{key}|{c.member.name}") < share]

    def _weights(self, conditions: Conditions, trade_value_micro_usd: int) -> dict[str, float]:
        large = float(self._options.cascade_enhanced_above_usd) * MICRO_PER_USD
        stake = min(1.0, trade_value_micro_usd / large) if large else 1.0
        factor = {
            # a cent of cost matters on a bet of a dollar, skill on one of fifty
            "performance": 1 + stake,
            "cost": 1 - stake / 2,
            # prices run away while a slow model thinks
            "speed": 2.0 if conditions.get("regime") == VolatilityRegime.VOLATILE else 1.0,
            # near the close nobody can be asked again
            "health": 2.0 if conditions.get("expiry") == ExpiryBucket.DAY else 1.0,
        }
        raw = {name: weight * factor.get(name, 1.0) for name, weight in WEIGHTS.items()}
        total = sum(raw.values())
        usual = {name: weight / total for name, weight in raw.items()}
        # as the day's money runs out, what a dollar buys comes to decide alone
        scarce = self._pressure
        return {name: (1 - scarce) * weight + scarce * (name == "cost") for name, weight in usual.items()}

    def _parts(self, name: str, thrift: float, conditions: Conditions) -> dict[str, float]:
        health = self.get_model_health(name)
        return {
            "performance": _share_of_advantage(-self._skill.get(name, 0.0)),
            "cost": thrift,
            "context": _share_of_advantage(self._advantage_under(name, conditions)),
            "speed": _speed(health.avg_response_time_ms if health else None),
            "health": 1.0 - health.failures / health.calls if health and health.calls else 1.0,
        }

    def _advantage_under(self, name: str, conditions: Conditions) -> float:
        """The overall advantage, moved by what each condition adds to it, shrunk each."""
        overall = self._skill.get(name, 0.0)
        under = (self._strengths.get((name, *condition), overall) for condition in conditions.items())
        return -(overall + sum(skill - overall for skill in under))


def fit(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that may be chosen, in their order; all of them where everybody got worse."""
    return [candidate for candidate in candidates if not candidate.is_deselected] or list(candidates)


def conditions_of(snapshot: Snapshot) -> Conditions:
    """The segment of each dimension in which a forecast on this snapshot falls."""
    return {"category": snapshot.market.category, "regime": snapshot.regime, "expiry": snapshot.expiry}


def _share_of_advantage(advantage: float) -> float:
    return min(1.0, max(0.0, 0.5 + advantage / (2 * _FULL_ADVANTAGE)))


def _speed(latency_ms: float | None) -> float:
    if latency_ms is None:
        return 1.0
    return min(1.0, max(0.0, (_SLOW_MS - latency_ms) / (_SLOW_MS - _FAST_MS)))


def draw(key: str) -> float:
    """A number in [0, 1) that `key` decides, so that a decision taken up again draws the same."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
