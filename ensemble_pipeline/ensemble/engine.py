"""How answers become one probability: log-odds pool, calibration, price anchor; and how far it may be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import Forecast, MemberOpinion, Ranking
from ensemble_pipeline.forecasting import pooling
from ensemble_pipeline.forecasting.calibration import apply_calibration
from ensemble_pipeline.forecasting.ranking import renormalise
from ensemble_pipeline.forecasting.uncertainty import disagreement, pooled_standard_error, uncertainty
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store.calibrations import Calibration


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the members say together. Probabilities are for YES; `p_final` is anchored where a price is known."""

    members: tuple[MemberOpinion, ...]
    p_plain_mean: float
    p_pooled: float
    p_calibrated: float
    p_final: float
    disagreement_level: float
    uncertainty: float
    confidence: float


class EnsembleEngine:
    """Pools members as P(YES), so that mirroring a market mirrors its decision."""

    def __init__(self, options: EnsembleSettings, ranking: Ranking, calibration: Calibration) -> None:
        self._options = options
        self._ranking = ranking
        self._calibration = calibration

    def weighted_consensus(
        self, asked: Sequence[str], answers: Sequence[Forecast], price: float | None, category: str
    ) -> Consensus:
        """Pool `answers` with the ranking's weights, re-based to those who answered.

        Args:
            asked: every member that was asked, answered or not.
            answers: at least one forecast.
            price: the market's probability of YES, or ``None`` where no price is known.
            category: the market's, for the calibration.
        """
        ordered = sorted(answers, key=lambda answer: answer.model_id)
        p_yes = np.array([answer.p_yes for answer in ordered])
        confidence = np.array([answer.confidence for answer in ordered])
        weight = self._weights(ordered)
        clip = self._options.clip
        pooled = pooling.log_odds_pool(p_yes, weight, clip)
        intercept = self._calibration.intercept_of(category)
        calibrated = float(apply_calibration(pooled, self._calibration.slope, intercept, clip))
        final = calibrated
        if price is not None:
            final = pooling.anchor_to_price(calibrated, price, self._options.market_weight, clip)
        return Consensus(
            members=_opinions(asked, ordered, weight),
            p_plain_mean=pooling.linear_pool(p_yes, np.ones_like(p_yes)),
            p_pooled=pooled,
            p_calibrated=calibrated,
            p_final=final,
            disagreement_level=self.detect_disagreement(p_yes, weight),
            uncertainty=self.quantify_uncertainty(p_yes, weight),
            # weights that sum to 1 up to rounding must not lift it above 1
            confidence=min(1.0, math.fsum(weight * confidence)),
        )

    def detect_disagreement(self, p_yes: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
        """0 when the members are unanimous, 1 when they are evenly split."""
        return disagreement(p_yes, weight)

    def quantify_uncertainty(self, p_yes: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
        """How uncertain the pool is, in [0, 1], from the members' spread and their effective number."""
        return uncertainty(pooled_standard_error(p_yes, weight, clip=self._options.clip))

    def _weights(self, answers: Sequence[Forecast]) -> NDArray[np.float64]:
        prior = 1.0 / max(len(self._ranking.rows), 1)
        known = [self._ranking.weight_of(answer.model_id) for answer in answers]
        raw = np.array([prior if weight is None else weight for weight in known])
        return renormalise(raw, np.ones(len(raw), dtype=np.bool_))


def _opinions(
    asked: Sequence[str], answers: Sequence[Forecast], weight: NDArray[np.float64]
) -> tuple[MemberOpinion, ...]:
    given = {answer.model_id: (answer, float(share)) for answer, share in zip(answers, weight, strict=True)}
    opinions = []
    for name in sorted({*asked, *given}):
        if name in given:
            answer, share = given[name]
            opinions.append(MemberOpinion(name, answer.forecast_id, answer.p_yes, answer.confidence, share))
        else:
            opinions.append(MemberOpinion(name, None, None, None, 0.0))
    return tuple(opinions)
