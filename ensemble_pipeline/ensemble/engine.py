"""How answers become one probability: a strategy's pool, calibration, price anchor; and how far it may be trusted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import Forecast, MemberOpinion, Ranking, Strategy
from ensemble_pipeline.ensemble import strategies
from ensemble_pipeline.ensemble.cascade import Bounds, is_worth_asking
from ensemble_pipeline.ensemble.strategies import Panel, Vote
from ensemble_pipeline.ensemble.trust import trust
from ensemble_pipeline.forecasting import pooling
from ensemble_pipeline.forecasting.calibration import apply_calibration
from ensemble_pipeline.forecasting.uncertainty import disagreement, uncertainty
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store.calibrations import Calibration

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """What the members were asked about, as far as pooling needs it.

    `asked` names the members that were chosen or drawn, with `propensity`, the chance of being asked; `order` is that
    in which a cascade asks, stand-ins included; `consulted` names who was really asked, where that is known;
    `uncounted` those whose answers are scored and not pooled. `price` is the market's probability of YES, ``None``
    where none is known; money in micro-dollars.
    """

    category: str
    price: float | None
    asked: tuple[str, ...]
    propensity: Mapping[str, float] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    consulted: tuple[str, ...] = ()
    uncounted: frozenset[str] = frozenset()
    worst_case_micro_usd: Mapping[str, int] = field(default_factory=dict)
    stake_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the members say together. Probabilities are for YES; `p_final` is anchored where a price is known.

    `agreement` is the share of the weight on the larger side of the price, in [0.5, 1].
    """

    strategy: Strategy
    members: tuple[MemberOpinion, ...]
    p_plain_mean: float
    p_pooled: float
    p_calibrated: float
    p_final: float
    market_weight: float | None
    disagreement_level: float
    uncertainty: float
    confidence: float
    agreement: float

    uncounted: frozenset[str] = frozenset()

    @property
    def answered(self) -> list[MemberOpinion]:
        """The members whose answers count."""
        return [it for it in self.members if it.p_yes is not None and it.model_id not in self.uncounted]


class EnsembleEngine:
    """Pools members as P(YES), so that mirroring a market mirrors its decision."""

    def __init__(
        self, options: EnsembleSettings, ranking: Ranking, calibration: Calibration, demanded_edge: float = 0.0
    ) -> None:
        self._options = options
        self._ranking = ranking
        self._known = ranking.by_name
        self._calibration = calibration
        self._demanded_edge = demanded_edge
        self._weights: dict[tuple[str, ...], Floats] = {}

    def weighted_consensus(
        self, question: Question, answers: Sequence[Forecast], strategy: Strategy | None = None
    ) -> Consensus:
        """Pool `answers` by `strategy` (default: the settings'), weights re-based to those who answered.

        Args:
            question: what was asked, of whom.
            answers: at least one forecast that counts.
            strategy: how to pool.
        """
        ordered = sorted(
            (answer for answer in answers if answer.model_id not in question.uncounted), key=lambda it: it.model_id
        )
        wanted = strategy or self._options.strategy
        panel = self.panel(question, ordered)
        voted = strategies.vote(wanted, panel, self._options)
        clip = self._options.clip
        intercept = self._calibration.intercept_of(question.category)
        calibrated = float(apply_calibration(voted.p_pooled, self._calibration.slope, intercept, clip))
        final, share = calibrated, None
        if question.price is not None:
            share = self._calibration.market_weight
            final = pooling.anchor_to_price(calibrated, question.price, share, clip, self._options.price_gap_scale)
        return Consensus(
            strategy=wanted,
            members=_opinions(question, answers, dict(zip(panel.names, voted.weight.tolist(), strict=True)), wanted),
            p_plain_mean=pooling.linear_pool(panel.p_yes, np.ones_like(panel.p_yes)),
            p_pooled=voted.p_pooled,
            p_calibrated=calibrated,
            p_final=final,
            market_weight=share,
            disagreement_level=self.detect_disagreement(panel.p_yes, voted.weight),
            uncertainty=self.quantify_uncertainty(voted),
            # weights that sum to 1 up to rounding must not lift it above 1
            confidence=min(1.0, math.fsum(voted.weight * panel.confidence)),
            agreement=strategies.agreement(panel, voted.weight),
            uncounted=question.uncounted,
        )

    def panel(self, question: Question, answers: Sequence[Forecast]) -> Panel:
        """The answers as columns, with the trust in each member and what the cascade weighs."""
        names = tuple(answer.model_id for answer in answers)
        return Panel(
            names=names,
            p_yes=np.array([answer.p_yes for answer in answers], dtype=np.float64),
            confidence=np.array([self._calibrated_confidence(answer) for answer in answers], dtype=np.float64),
            weight=self._weigh(names),
            price=question.price,
            weigh=self._weigh,
            bounds=Bounds(
                order=question.order,
                worst_case_micro_usd=question.worst_case_micro_usd,
                stake_micro_usd=question.stake_micro_usd,
                market_weight=self._calibration.market_weight,
                demanded_edge=self._demanded_edge,
                clip=self._options.clip,
                gap_scale=self._options.price_gap_scale,
            ),
        )

    def is_worth_asking(self, name: str, question: Question, answers: Sequence[Forecast]) -> bool:
        """Whether an answer of `name` is worth its price after these; before the first answer it is."""
        place = {asked: index for index, asked in enumerate(question.order)}
        heard = sorted(answers, key=lambda answer: place.get(answer.model_id, len(place)))
        if not heard:
            return True
        panel = self.panel(question, heard)
        return is_worth_asking(name, panel.p_yes, panel.weight, panel.price, panel.bounds)

    def detect_disagreement(self, p_yes: Floats, weight: Floats) -> float:
        """0 when the members are unanimous, 1 when they are evenly split."""
        # 0.3 and 0.9 are as far apart as 0.7 and 0.1, to a limit as well
        return round(disagreement(p_yes, weight), 12)

    def quantify_uncertainty(self, voted: Vote) -> float:
        """How uncertain the pool is, in [0, 1], from the members' spread and their effective number."""
        return uncertainty(voted.standard_error)

    def _weigh(self, names: Sequence[str]) -> Floats:
        # a batch asks the same few panels again and again
        key = tuple(names)
        if key not in self._weights:
            self._weights[key] = trust(key, self._ranking, self._options)
        return self._weights[key]

    def _calibrated_confidence(self, answer: Forecast) -> float:
        """Stated confidence, less what the member is usually too sure by."""
        row = self._known.get(answer.model_id)
        return min(1.0, max(0.0, answer.confidence - (row.confidence_gap if row else 0.0)))


def _opinions(
    question: Question, answers: Sequence[Forecast], weight: Mapping[str, float], strategy: Strategy
) -> tuple[MemberOpinion, ...]:
    given = {answer.model_id: answer for answer in answers}
    # whom a cascade did not come to was not asked
    asked = () if strategy is Strategy.CASCADING else question.asked
    return tuple(
        _opinion(name, given.get(name), weight.get(name, 0.0), question.propensity.get(name))
        for name in sorted({*asked, *question.consulted, *given})
    )


def _opinion(name: str, answer: Forecast | None, weight: float, chance: float | None) -> MemberOpinion:
    if answer is None:
        return MemberOpinion(name, None, None, None, 0.0, chance)
    return MemberOpinion(name, answer.forecast_id, answer.p_yes, answer.confidence, weight, chance)
