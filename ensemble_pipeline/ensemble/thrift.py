"""What an answer of each model is expected to cost and to gain, as selection weighs it: how much skill a dollar buys.

Pure. Belongs here: what is taken where little is known. Does not: how the reading came about (efficiency.py), how
much it weighs (selection.py).
"""

import math
from collections.abc import Mapping
from statistics import fmean, median

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.store.efficiency import Efficiency
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT

# a model that gains nothing over the base rate, or of which nothing is known, still differs by its price
_LEAST_GAIN = 0.001


class Thrift:
    """Expected cost and gain of one answer, from a reading of costs; without one from worst cases alone."""

    def __init__(self, efficiency: Efficiency | None) -> None:
        self._lines = {} if efficiency is None else efficiency.by_place
        self._share = 1.0 if efficiency is None else efficiency.share_of_worst_case
        known = [it.gain for it in self._lines.values() if it.is_overall and it.gain is not None]
        self._usual_gain = fmean(known) if known else 0.0

    def expected_cost_usd(self, name: str, category: str, worst_case_micro_usd: int) -> float:
        """What one usable answer is expected to cost; nothing where its worst case is nothing."""
        if worst_case_micro_usd == 0:
            return 0.0
        line = self._lines.get((name, category), self._lines.get((name, EVERY_SEGMENT)))
        if line is None or line.cost_per_answer_usd is None:
            return worst_case_micro_usd / MICRO_PER_USD * self._share
        return line.cost_per_answer_usd

    def expected_gain(self, name: str, category: str) -> float:
        """By how many Brier points it beats the base rate; as the panel does where nothing is known of it."""
        line = self._lines.get((name, category), self._lines.get((name, EVERY_SEGMENT)))
        gain = self._usual_gain if line is None or line.gain is None else line.gain
        return max(gain, _LEAST_GAIN)

    def gain_per_usd(self, name: str, category: str, worst_case_micro_usd: int) -> float:
        """Brier points per dollar, > 0; ``inf`` where the answer is free."""
        cost = self.expected_cost_usd(name, category, worst_case_micro_usd)
        return self.expected_gain(name, category) / cost if cost else math.inf


def thrift_scores(gain_per_usd: Mapping[str, float]) -> dict[str, float]:
    """Each as a part of utility in [0, 1]: half for the median of those that cost something, 1 for what is free."""
    paid = [it for it in gain_per_usd.values() if math.isfinite(it)]
    usual = median(paid) if paid else 0.0
    return {name: it / (it + usual) if math.isfinite(it) else 1.0 for name, it in gain_per_usd.items()}
