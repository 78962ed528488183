"""What the ledger says about each model: skill with intervals, strengths by segment, trend and degradation.

Belongs here: which rows enter which judgement. Does not: formulas (forecasting), where judgements are kept (store).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import Ranked, Ranking
from ensemble_pipeline.ensemble.trust import trust
from ensemble_pipeline.forecasting import ranking as skill
from ensemble_pipeline.forecasting.degradation import detect_degradation
from ensemble_pipeline.forecasting.intervals import clustered_interval
from ensemble_pipeline.forecasting.pooling import clip_probability, logit
from ensemble_pipeline.forecasting.redundancy import residual_correlation
from ensemble_pipeline.forecasting.scoring import is_correct
from ensemble_pipeline.forecasting.segments import judge_segments, shrink_within
from ensemble_pipeline.forecasting.sequences import confidence_sequence
from ensemble_pipeline.forecasting.trend import trend
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store.rankings import ModelStrength, ModelTrend, PanelLevel
from ensemble_pipeline.store.score_arrays import DIMENSIONS, ScoreArrays
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT

_ALPHA = 0.05
_EPOCH = datetime.fromtimestamp(0, UTC)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Correlations: TypeAlias = Mapping[tuple[str, str], float]

# from so many events on a sequence wrongly excludes zero in at most 5% of simulated histories, in 9% where all markets
# are alike and one in ten comes true; from 10 on it would be 38% there
_EVENTS_FOR_A_WINNER = 50


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is said of the models as of one hour; correlations by the names of two, in order."""

    ranked: tuple[Ranked, ...]
    correlations: Correlations
    trends: tuple[ModelTrend, ...]
    strengths: tuple[ModelStrength, ...]
    levels: tuple[PanelLevel, ...] = ()


@dataclass(frozen=True, slots=True)
class _Panel:
    """One row per question, one column per model: who said what, and what came of it.

    `log_odds` holds what each model said, `difference` its difference to the panel; NaN where it is absent. `brier` is
    the panel's mean Brier score. `recent` marks the questions that the longest window holds, `event_at` the place of
    each question's event in the order in which events became known, `event_known_at_s` when they did.
    """

    names: tuple[str, ...]
    log_odds: Floats
    difference: Floats
    brier: Floats
    outcome: Integers
    recency: Floats
    event: Integers
    known_at_s: Integers
    recent: NDArray[np.bool_]
    segment: Mapping[str, Integers]
    segment_names: Mapping[str, tuple[str, ...]]
    event_at: Integers
    event_known_at_s: Integers

    def by_event(self, values: Floats) -> Floats:
        """Means per event of values per question (axis 0), in the order of becoming known; NaN where none is."""
        is_there = ~np.isnan(values)
        total, count = (np.zeros((len(self.event_known_at_s), *values.shape[1:])) for _ in range(2))
        np.add.at(total, self.event_at, np.where(is_there, values, 0.0))
        np.add.at(count, self.event_at, is_there)
        means: Floats = total / np.where(count > 0, count, np.nan)
        return means


def judge(data: ScoreArrays, members: Sequence[str], window_from_s: int, options: EnsembleSettings) -> Judgement:
    """Judge every model the ledger knows and every member.

    Args:
        data: All rows of the ledger known by the hour of the judgement.
        members: The ensemble's members; only they get weights.
        window_from_s: Where the longest window begins, seconds since the Unix epoch.
        options: Half-life, scale of the weights, prior of the segments.
    """
    panel = _panel(data, tuple(sorted({*members, *data.models})), window_from_s, options)
    levelled = skill.level_panels(panel.difference, panel.recency)
    by_event = panel.by_event(levelled)
    ranked, correlations = _rank(panel, data, members, window_from_s, options)
    return Judgement(
        tuple(_with_sequence(panel, row, ranked[0], by_event, levelled) for row in ranked),
        correlations,
        _trends(panel, levelled, by_event),
        _strengths(panel, levelled, ranked, options),
        _levels(panel, options),
    )


def rank_models(
    data: ScoreArrays, members: Sequence[str], window_from_s: int, options: EnsembleSettings
) -> tuple[tuple[Ranked, ...], Correlations, PanelLevel | None]:
    """The part of `judge` that weights are made of: skill, its interval and evidence, likeness; no sequences.

    And by how much the panel beats the base rate over all, ``None`` where nothing has settled.
    """
    panel = _panel(data, tuple(sorted({*members, *data.models})), window_from_s, options)
    overall = _level(panel, EVERY_SEGMENT, panel.recent)
    return *_rank(panel, data, members, window_from_s, options), None if overall is None else overall[0]


def _panel(data: ScoreArrays, names: tuple[str, ...], window_from_s: int, options: EnsembleSettings) -> _Panel:
    questions = int(data.question.max(initial=-1)) + 1
    p_yes = np.full((questions, len(names)), np.nan)
    outcome, event, known, placed = (np.zeros(questions, dtype=np.int64) for _ in range(4))
    # rows come in ledger order, so a score taken back ends as absent and a correction ends as the newest word
    p_yes[data.question, _columns(data, names)[data.model]] = np.where(data.sign > 0, data.p_yes, np.nan)
    outcome[data.question] = data.outcome
    event[data.question] = data.event
    known[data.question] = data.known_at_s
    placed[data.question] = data.window_at_s
    segment = {name: np.zeros(questions, dtype=np.int64) for name in DIMENSIONS}
    for name, column in segment.items():
        column[data.question] = data.segments[name]
    # what was taken back altogether ages nobody
    heard = np.flatnonzero(~np.isnan(p_yes).all(axis=1))
    p_yes, outcome, event, known, placed = (column[heard] for column in (p_yes, outcome, event, known, placed))
    segment = {name: column[heard] for name, column in segment.items()}
    recency = skill.recency_weights(_age_in_events(event, known), options.half_life_resolutions)
    event_at, event_known_at_s = _events_in_order(event, known)
    return _Panel(
        names=names,
        log_odds=_log_odds(np.asarray(p_yes, dtype=np.float64), options.clip),
        difference=skill.panel_differences(p_yes, outcome),
        brier=np.nanmean(np.square(p_yes - outcome[:, None]), axis=1),
        outcome=outcome,
        recency=recency,
        event=event,
        known_at_s=known,
        recent=placed > window_from_s,
        segment=segment,
        segment_names=data.names,
        event_at=event_at,
        event_known_at_s=event_known_at_s,
    )


def _rank(
    panel: _Panel, data: ScoreArrays, members: Sequence[str], window_from_s: int, options: EnsembleSettings
) -> tuple[tuple[Ranked, ...], Correlations]:
    recent = panel.recent
    recency = panel.recency[recent]
    levelled = skill.level_panels(panel.difference[recent], recency)
    estimate = skill.estimate_skill(levelled, panel.event[recent], recency)
    shrunk = skill.shrink(estimate.delta, estimate.standard_error, estimate.n_eff, options.skill_spread)
    low, high = clustered_interval(estimate.delta, estimate.standard_error, estimate.events)
    column = _columns(data, panel.names)[data.model]
    recent_rows = data.sign * (data.window_at_s > window_from_s)
    counted = np.bincount(column, recent_rows, len(panel.names)).astype(np.float64)
    gap = _confidence_gaps(data, column, recent_rows, counted) * _trusted(estimate.events, options)
    order = sorted(range(len(panel.names)), key=lambda i: (shrunk[i], panel.names[i]))
    rows = [
        Ranked(
            model_id=panel.names[i],
            rank=place,
            skill=float(shrunk[i]),
            standard_error=_or_none(estimate.standard_error[i]),
            sample_size=int(counted[i]),
            effective_sample_size=float(estimate.n_eff[i]),
            weight=0.0,
            interval_low=_or_none(low[i]),
            interval_high=_or_none(high[i]),
            events=int(estimate.events[i]),
            confidence_gap=float(gap[i]),
        )
        for place, i in enumerate(order, start=1)
    ]
    correlations = _correlations(panel)
    return _with_weights(rows, members, correlations, options), correlations


def _with_weights(
    rows: Sequence[Ranked], members: Sequence[str], correlations: Correlations, options: EnsembleSettings
) -> tuple[Ranked, ...]:
    """The lines with the weights that a panel of all members would get."""
    asked = sorted(row.model_id for row in rows if row.model_id in members)
    ranking = Ranking(0, _EPOCH, tuple(rows), correlations)
    weight = dict(zip(asked, trust(asked, ranking, options).tolist(), strict=True)) if asked else {}
    return tuple(replace(row, weight=weight.get(row.model_id, 0.0)) for row in rows)


def _correlations(panel: _Panel) -> Correlations:
    recent = panel.recent
    rho = residual_correlation(panel.log_odds[recent], panel.event[recent], panel.recency[recent])
    # names are sorted, so that the first of a pair comes first
    return {
        (name, other): float(rho[i, j])
        for i, name in enumerate(panel.names)
        for j, other in enumerate(panel.names)
        if i < j
    }


def _confidence_gaps(data: ScoreArrays, column: Integers, sign: Integers, counted: Floats) -> Floats:
    """Stated confidence less the share of forecasts on the right side, by model; 0 where there is none."""
    gap = sign * (data.confidence - is_correct(data.p_yes, data.outcome))
    gaps: Floats = np.bincount(column, gap, len(counted)) / np.where(counted > 0, counted, np.inf)
    return gaps


def _trusted(events: Integers, options: EnsembleSettings) -> Floats:
    """How far a model's own record counts against none at all."""
    share: Floats = events / (events + options.segment_prior_events)
    return share


def _with_sequence(panel: _Panel, row: Ranked, first: Ranked, by_event: Floats, levelled: Floats) -> Ranked:
    """The line with what holds at every look: over the model's whole history, against the panel and the first."""
    i, best = panel.names.index(row.model_id), panel.names.index(first.model_id)
    against_panel = by_event[:, i]
    # what levels the panel is the same for both and drops out
    against_first = panel.by_event(levelled[:, i] - levelled[:, best])
    low, high = _sequence(against_panel, len(panel.names))
    return replace(
        row,
        sequence_low=_or_none(low),
        sequence_high=_or_none(high),
        events=int((~np.isnan(against_panel)).sum()),
        is_tied_with_first=_sequence(against_first, len(panel.names) - 1)[0] <= 0,
    )


def _strengths(
    panel: _Panel, levelled: Floats, ranked: Sequence[Ranked], options: EnsembleSettings
) -> tuple[ModelStrength, ...]:
    overall = skill.estimate_skill(levelled, panel.event, panel.recency).delta
    shrunk = {row.model_id: row.skill for row in ranked}
    target = np.array([shrunk[name] for name in panel.names])
    cells = [
        (dimension, name, skill.estimate_skill(levelled[here], panel.event[here], panel.recency[here]))
        for dimension, names in panel.segment_names.items()
        for index, name in enumerate(names)
        for here in [panel.segment[dimension] == index]
    ]
    if not cells:
        return ()
    delta, error, events, n_eff = (
        np.stack([getattr(estimate, name) for _, _, estimate in cells], axis=1)
        for name in ("delta", "standard_error", "events", "n_eff")
    )
    verdicts = judge_segments(delta, error, events, np.where(np.isnan(overall), 0.0, overall))
    # what the segment adds to the model's own level, so that nothing of that level comes back unshrunk
    moved = target[:, None] + delta - overall[:, None]
    skills = shrink_within(moved, n_eff, target, options.segment_prior_events)
    return tuple(
        ModelStrength(
            model_id=name,
            dimension=dimension,
            segment=segment,
            delta=_or_none(delta[i, j]),
            standard_error=_or_none(error[i, j]),
            n=int(estimate.n[i]),
            events=int(events[i, j]),
            effective_sample_size=float(n_eff[i, j]),
            skill=float(skills[i, j]),
            verdict=str(verdicts[i, j]),
        )
        for j, (dimension, segment, estimate) in enumerate(cells)
        for i, name in enumerate(panel.names)
        if estimate.n[i]
    )


def _levels(panel: _Panel, options: EnsembleSettings) -> tuple[PanelLevel, ...]:
    """By how much the panel beats the base rate, over all and in each category, drawn towards that over all."""
    names = panel.segment_names["category"]
    overall = _level(panel, EVERY_SEGMENT, panel.recent)
    if overall is None:
        return ()
    found = [overall[0]]
    for index, name in enumerate(names):
        here = _level(panel, name, panel.recent & (panel.segment["category"] == index))
        if here is None:
            continue
        own, n_eff = here
        share = n_eff / (n_eff + options.segment_prior_events)
        gain = overall[0].gain + share * (own.gain - overall[0].gain)
        # what is drawn towards the whole errs as the whole does, for the rest as its own record
        errors = (overall[0].standard_error, own.standard_error)
        error = None if None in errors else float(np.hypot((1 - share) * (errors[0] or 0), share * (errors[1] or 0)))
        found.append(PanelLevel(name, gain, error, own.events))
    return tuple(found)


def _level(panel: _Panel, category: str, here: NDArray[np.bool_]) -> tuple[PanelLevel, float] | None:
    if not here.any():
        return None
    outcome, recency = panel.outcome[here], panel.recency[here]
    base_rate = np.average(outcome, weights=recency)
    gain = np.square(base_rate - outcome) - panel.brier[here]
    estimate = skill.estimate_skill(gain[:, None], panel.event[here], recency)
    level = PanelLevel(
        category, float(estimate.delta[0]), _or_none(estimate.standard_error[0]), int(estimate.events[0])
    )
    return level, float(estimate.n_eff[0])


def _trends(panel: _Panel, levelled: Floats, by_event: Floats) -> tuple[ModelTrend, ...]:
    found = []
    for index, name in enumerate(panel.names):
        here = panel.recent & ~np.isnan(levelled[:, index])
        line = trend(panel.known_at_s[here] / 86_400, levelled[here, index], panel.event[here])
        is_heard = ~np.isnan(by_event[:, index])
        watched = detect_degradation(by_event[is_heard, index])
        since = watched.since if watched.is_degraded else None
        found.append(
            ModelTrend(
                model_id=name,
                slope_per_day=_or_none(line.slope_per_day),
                low=_or_none(line.low),
                high=_or_none(line.high),
                direction=str(line.direction),
                is_degraded=watched.is_degraded,
                cusum=float(watched.statistic[-1]) if len(watched.statistic) else 0.0,
                cusum_threshold=watched.threshold,
                degraded_since=None if since is None else _instant(panel.event_known_at_s[is_heard][since]),
            )
        )
    return tuple(found)


def _log_odds(p_yes: Floats, clip: float) -> Floats:
    is_there = ~np.isnan(p_yes)
    found = np.full(p_yes.shape, np.nan)
    found[is_there] = logit(clip_probability(p_yes[is_there], clip))
    return found


def _events_in_order(event: Integers, known: Integers) -> tuple[Integers, Integers]:
    """Each question's event by its place in the order of becoming known, and when each event did."""
    names, index = np.unique(event, return_inverse=True)
    first = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(first, index, known)
    order = np.lexsort((names, first))
    return np.argsort(order)[index].astype(np.int64), first[order]


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(int(second), UTC)


def _sequence(differences: Floats, n_comparisons: int) -> tuple[float, float]:
    """Limits of the anytime-valid interval after the last event; infinite where there are too few.

    With chance 95% all `n_comparisons` of a kind hold, at every look (Bonferroni).
    """
    heard = differences[~np.isnan(differences)]
    if len(heard) < _EVENTS_FOR_A_WINNER:
        return -np.inf, np.inf
    sequence = confidence_sequence(heard, level=1 - _ALPHA / max(n_comparisons, 1))
    return float(sequence.low[-1]), float(sequence.high[-1])


def _age_in_events(event: Integers, known: Integers) -> Integers:
    """How many events became known later than each question's."""
    names, index = np.unique(event, return_inverse=True)
    newest = np.zeros(len(names), dtype=np.int64)
    np.maximum.at(newest, index, known)
    age = len(names) - np.searchsorted(np.sort(newest), newest, side="right")
    return np.asarray(age[index], dtype=np.int64)


def _columns(data: ScoreArrays, names: Sequence[str]) -> Integers:
    return np.array([names.index(name) for name in data.models], dtype=np.int64)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
