"""Cost per performance: what each model's answers cost in each category, and the skill that a dollar spent on it buys.

Pure: sums of the ledger and what the ranking knows are handed in. Belongs here: which of them belong together. Does
not: formulas (forecasting/efficiency.py), reading and keeping (cost.py, store/efficiency.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ensemble_pipeline.domain import MICRO_PER_USD, Ranked, Ranking
from ensemble_pipeline.forecasting.efficiency import CostPerAnswer, cost_per_answer, gain_per_cost
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store.database import Row
from ensemble_pipeline.store.efficiency import CostEfficiency
from ensemble_pipeline.store.rankings import ModelStrength, PanelLevel
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT

# a category's own cost per answer counts as much as the model's everywhere from so many answers on
_PRIOR_ANSWERS = 20.0


@dataclass(frozen=True, slots=True)
class _Gain:
    mean: float
    error: float | None


class _Gains:
    """By how much each model beats the base rate, over all and by category."""

    def __init__(
        self,
        ranking: Ranking,
        strengths: Sequence[ModelStrength],
        levels: Sequence[PanelLevel],
        options: EnsembleSettings,
    ) -> None:
        self._ranked = ranking.by_name
        self._strengths = {(it.model_id, it.segment): it for it in strengths if it.dimension == "category"}
        self._levels = {it.category: it for it in levels}
        self._options = options

    def categories_of(self, name: str) -> set[str]:
        """The categories in which a model was scored."""
        return {category for model, category in self._strengths if model == name}

    def of(self, name: str, category: str) -> _Gain | None:
        """The gain of a model in a category; a model without a record counts as good as the panel."""
        level = self._levels.get(category, self._levels.get(EVERY_SEGMENT))
        if level is None:
            return None
        ranked, strength = self._ranked.get(name), self._strengths.get((name, category))
        skill = strength.skill if strength is not None else 0.0 if ranked is None else ranked.skill
        if level.standard_error is None:
            return _Gain(level.gain - skill, None)
        errors = (level.standard_error, self._error_overall(ranked), self._error_there(strength))
        return _Gain(level.gain - skill, math.hypot(*errors))

    def _error_overall(self, ranked: Ranked | None) -> float:
        """Of a skill shrunk by a known spread τ: ``τ s / sqrt(τ² + s²)``, τ where nothing is known."""
        spread = self._options.skill_spread
        if ranked is None or ranked.standard_error is None:
            return spread
        return spread * ranked.standard_error / math.hypot(spread, ranked.standard_error)

    def _error_there(self, strength: ModelStrength | None) -> float:
        if strength is None or strength.standard_error is None:
            return 0.0
        n = strength.effective_sample_size
        return strength.standard_error * n / (n + self._options.segment_prior_events)


def efficiencies(
    costs: Sequence[Row],
    ranking: Ranking,
    strengths: Sequence[ModelStrength],
    levels: Sequence[PanelLevel],
    options: EnsembleSettings,
) -> list[CostEfficiency]:
    """A line for each model over all categories, and in each category that it was asked or scored in.

    The gain of a model is that of the panel over the base rate, less the model's shrunk difference to the panel.

    Args:
        costs: Sums by model and category, see ``store.efficiency.call_costs``.
        ranking: Shrunk skill of each model, negative is better than the panel.
        strengths: The same by category.
        levels: By how much the panel beats the base rate, over all and by category.
        options: What skill was shrunk with.
    """
    gains = _Gains(ranking, strengths, levels, options)
    found = []
    for name in sorted({*ranking.by_name, *(row["model_id"] for row in costs)}):
        own = {row["category"]: row for row in costs if row["model_id"] == name}
        everywhere = _cost(list(own.values()), None)
        found.append(_line(name, EVERY_SEGMENT, list(own.values()), everywhere, gains.of(name, EVERY_SEGMENT)))
        for category in sorted({*own, *gains.categories_of(name)}):
            here = [own[category]] if category in own else []
            found.append(_line(name, category, here, _cost(here, everywhere), gains.of(name, category)))
    return found


def share_of_worst_case(costs: Sequence[Row]) -> float:
    """What calls cost as a share of what was held for them; 1 where nothing is known."""
    held = sum(row["reserved_micro_usd"] for row in costs)
    return sum(row["cost_micro_usd"] for row in costs) / held if held else 1.0


def _cost(rows: Sequence[Row], prior: CostPerAnswer | None) -> CostPerAnswer | None:
    """Dollars per usable answer; ``None`` where there is neither an answer nor anything to go by."""
    answers = sum(row["answers"] for row in rows)
    if not answers and prior is None:
        return None
    return cost_per_answer(
        answers,
        sum(row["cost_micro_usd"] for row in rows) / MICRO_PER_USD,
        sum(row["cost_squared"] for row in rows) / MICRO_PER_USD**2,
        sum(row["cost_of_answered"] for row in rows) / MICRO_PER_USD,
        prior=0.0 if prior is None else prior.mean,
        weight=0.0 if prior is None else _PRIOR_ANSWERS,
        prior_error=0.0 if prior is None else prior.standard_error,
    )


def _line(
    name: str, category: str, rows: Sequence[Row], cost: CostPerAnswer | None, gain: _Gain | None
) -> CostEfficiency:
    bought = ratio = None
    if gain is not None and cost is not None and cost.mean > 0:
        ratio = gain.mean / cost.mean
        if gain.error is not None:
            bought = gain_per_cost(gain.mean, gain.error, cost.mean, cost.standard_error)
    return CostEfficiency(
        model_id=name,
        category=category,
        calls=sum(row["calls"] for row in rows),
        answers=sum(row["answers"] for row in rows),
        cost_micro_usd=sum(row["cost_micro_usd"] for row in rows),
        cost_per_answer_usd=None if cost is None else cost.mean,
        cost_standard_error_usd=None if cost is None else cost.standard_error,
        gain=None if gain is None else gain.mean,
        gain_standard_error=None if gain is None else gain.error,
        gain_per_usd=ratio,
        low=None if bought is None or math.isinf(bought.low) else bought.low,
        high=None if bought is None or math.isinf(bought.high) else bought.high,
    )
