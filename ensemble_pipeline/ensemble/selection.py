"""Whom to ask: utility of each model from skill, cost, context, speed and health, and an exploration share."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ensemble_pipeline.domain import MICRO_PER_USD, ExpiryBucket, Ranking, Snapshot, VolatilityRegime
from ensemble_pipeline.settings import EnsembleSettings, MemberSettings
from ensemble_pipeline.store.monitoring import ModelHealth
from ensemble_pipeline.store.rankings import ModelStrength

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

    `is_deselected`: its accuracy got worse; only an exploration draw asks it.
    """

    member: MemberSettings
    worst_case_micro_usd: int
    parts: Mapping[str, float]
    weights: Mapping[str, float]
    is_deselected: bool = False

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
    ) -> None:
        self._options = options
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
        dearest = max((worst for _, worst in members), default=0)
        weights = self._weights(conditions, trade_value_micro_usd)
        candidates = [
            Candidate(
                member,
                worst,
                self._parts(member.name, worst, dearest, conditions),
                weights,
                is_deselected=member.name in self._degraded,
            )
            for member, worst in members
            if (health := self.get_model_health(member.name)) is None or health.is_available
        ]
        return sorted(candidates, key=self._place)

    def _place(self, candidate: Candidate) -> tuple[bool, float, float, str]:
        # of two that are equally useful the one whose skill costs less comes first
        ratio = self.calculate_performance_cost_ratio(candidate.member.name, candidate.worst_case_micro_usd)
        return candidate.is_deselected, -candidate.utility, -ratio, candidate.member.name

    def select_optimal_model(
        self, members: Sequence[tuple[MemberSettings, int]], conditions: Conditions, trade_value_micro_usd: int
    ) -> Candidate | None:
        """The member with the highest utility, or ``None`` where nobody is available."""
        return next(iter(fit(self.order(members, conditions, trade_value_micro_usd))), None)

    def calculate_performance_cost_ratio(self, name: str, worst_case_micro_usd: int) -> float:
        """Brier advantage over the panel per dollar of a call's worst case; ``inf`` where an advantage is free."""
        advantage = -self._skill.get(name, 0.0)
        if worst_case_micro_usd == 0:
            return float("inf") if advantage > 0 else 0.0
        return advantage / (worst_case_micro_usd / MICRO_PER_USD)

    def explored(self, candidates: Sequence[Candidate], chosen: Sequence[Candidate], key: str) -> list[Candidate]:
        """Candidates outside `chosen` that are asked all the same, each with the exploration share's chance.

        The draw is a hash of `key` and the model, so that a decision taken up again draws the same.
        """
        share, names = self._options.exploration_share, {candidate.member.name for candidate in chosen}
        return [c for c in candidates if c.member.name not in names and _draw(f"{key}|{c.member.name}") < share]

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
        return {name: weight / total for name, weight in raw.items()}

    def _parts(self, name: str, worst: int, dearest: int, conditions: Conditions) -> dict[str, float]:
        health = self.get_model_health(name)
        return {
            "performance": _share_of_advantage(-self._skill.get(name, 0.0)),
            "cost": 1.0 - worst / dearest if dearest else 1.0,
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


def _draw(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
