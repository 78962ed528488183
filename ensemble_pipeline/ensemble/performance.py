"""Learning: settled markets become scores, scores become cube, windows, calibration and the ranking of models."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.clock import floor_hour
from ensemble_pipeline.domain import Ranked, Ranking
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.forecasting import ranking as skill
from ensemble_pipeline.forecasting.calibration import fit_ridge_temperature
from ensemble_pipeline.forecasting.pooling import clip_probability, logit
from ensemble_pipeline.forecasting.scoring import (
    ReliabilityBins,
    brier_score,
    expected_calibration_error,
    is_correct,
    log_loss,
    reliability_bins,
)
from ensemble_pipeline.forecasting.skill_cube import CubeCells, build_cells
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS, window_sums
from ensemble_pipeline.store import performance, rankings, scores
from ensemble_pipeline.store.database import Row
from ensemble_pipeline.store.decisions import settled_pools
from ensemble_pipeline.store.scores import ModelPerformance, ScoreArrays

RANKING_WINDOW_HOURS = max(WINDOW_HOURS)


@dataclass(frozen=True, slots=True)
class Learnt:
    """How many rows a step of learning wrote, and up to which as-of hour."""

    rows: int
    as_of: datetime


class PerformanceTracker:
    """Scores forecasts as their markets settle and keeps every derived table in step with the ledger."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def record_prediction_result(self) -> int:
        """Score every forecast whose market has a resolution and no score yet; returns how many rows were appended.

        A resolution that was corrected takes its earlier scores back (sign -1) and scores again, both known when
        the correction became known.
        """
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            retractions = [_retraction(row) for row in scores.outdated(connection)]
            fresh = [_score(row) for row in scores.unscored(connection)]
            scores.append_scores(connection, [*retractions, *fresh])
        return len(retractions) + len(fresh)

    def update_skill_cube(self, first: date, last: date) -> int:
        """Rebuild the hourly sums of the days from `first` to `last` from the ledger; returns the cells written."""
        start, end = performance.day_bounds(first, last)
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            # an hour holds what became known in the hour before it: (h - 1, h]
            data = scores.load_scores(connection, start - timedelta(hours=1), end - timedelta(hours=1))
            return performance.replace_cube(connection, first, last, _cells(data), data.models, data.categories)

    def update_rolling_windows(self, first: date, last: date) -> Learnt:
        """Materialise the hourly as-of rows of the days from `first` to `last`, up to the present hour.

        The rows depend on the cube alone: by the hour, by the day or all at once, they come out the same.
        """
        start, end = performance.day_bounds(first, last)
        now = self._instance.clock.now()
        behind = self.days_to_learn()
        until = min(end - timedelta(hours=1), floor_hour(now))
        hours = np.arange(performance.hour_number(start), performance.hour_number(until) + 1, dtype=np.int64)
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            # marked before reading: what is appended meanwhile is left to the next materialisation; days that were
            # to be learnt and are not among these keep the old mark
            through = scores.last_score_id(connection)
            earliest = start - timedelta(hours=RANKING_WINDOW_HOURS)
            cells, models, categories = performance.load_cube(connection, earliest, until)
            table = window_sums(cells, hours, WINDOW_HOURS)
            written = performance.replace_windows(connection, first, last, table, models, categories)
            if until == floor_hour(now) and (behind is None or first <= behind[0]):
                performance.save_mark(connection, until, through)
        return Learnt(written, until)

    def days_to_learn(self) -> tuple[date, date] | None:
        """The span of days whose windows lack an hour or a score by now; ``None`` where all is up to date."""
        hour = floor_hour(self._instance.clock.now())
        with self._instance.database.connection() as connection:
            mark = performance.last_mark(connection)
            as_of, through = mark if mark is not None else (None, 0)
            earliest = scores.earliest_known_after(connection, through)
        if as_of is None:
            first = (earliest or hour).date()
        elif earliest is not None or as_of < hour:
            first = min(as_of, earliest or as_of).date()
        else:
            return None
        return min(first, hour.date()), hour.date()

    def unlearnt_resolution(self) -> tuple[date, date, int] | None:
        """Days to learn because of resolutions the ledger has not followed, with the newest of them; else ``None``."""
        hour = floor_hour(self._instance.clock.now())
        with self._instance.database.connection() as connection:
            newest = scores.newest_unlearnt_resolution(connection)
        if newest is None:
            return None
        span = self.days_to_learn()
        first = min(newest.known_at, hour).date() if span is None else min(span[0], newest.known_at.date())
        return first, hour.date(), newest.resolution_id

    def learnt_until(self) -> datetime | None:
        """The as-of hour up to which the windows are materialised."""
        with self._instance.database.connection() as connection:
            mark = performance.last_mark(connection)
        return None if mark is None else mark[0]

    def calibrate(self) -> rankings.Calibration:
        """Fit the temperature of the pooled forecast on decisions settled by now; an event counts once in all."""
        return self._calibrate(self._instance.clock.now())

    def _calibrate(self, as_of: datetime) -> rankings.Calibration:
        with self._instance.database.connection() as connection:
            rows = settled_pools(connection, as_of)
            shares = _event_shares(rows)
            fit = fit_ridge_temperature(
                logit(clip_probability([row["p_pooled"] for row in rows], self._instance.settings.ensemble.clip)),
                np.array([row["outcome"] for row in rows], dtype=np.int64),
                shares,
                self._instance.settings.ensemble.temperature_ridge,
            )
            # the shares of an event sum to 1: their total is the number of events
            return rankings.save_calibration(connection, as_of, fit.slope, fit.n, float(shares.sum()))

    def reliability(self) -> tuple[ReliabilityBins, float]:
        """Calibrated forecasts of settled decisions in ten bins against outcomes, and their calibration error."""
        with self._instance.database.connection() as connection:
            rows = settled_pools(connection, self._instance.clock.now())
        said = np.array([row["p_calibrated"] for row in rows], dtype=np.float64)
        came = np.array([row["outcome"] for row in rows], dtype=np.int64)
        return reliability_bins(said, came), expected_calibration_error(said, came)

    def rank(self) -> Ranking:
        """Rank the models by what the longest window knows as of its newest hour, and record the ranking."""
        return self._rank(self.learnt_until() or floor_hour(self._instance.clock.now()))

    def _rank(self, as_of: datetime) -> Ranking:
        with self._instance.database.connection() as connection:
            members = self._instance.register_members(connection)
            data = scores.load_scores(connection, as_of - timedelta(hours=RANKING_WINDOW_HOURS), as_of)
            rows = self._ranked(data, members)
            return rankings.save_ranking(connection, as_of, as_of.date(), len(data.p_yes), rows)

    def _ranked(self, data: ScoreArrays, members: Sequence[str]) -> list[Ranked]:
        options = self._instance.settings.ensemble
        names = sorted({*members, *data.models})
        estimate = _estimate_skill(data, names, options.half_life_resolutions)
        shrunk, _ = skill.shrink(estimate.delta, estimate.standard_error)
        is_member = np.array([name in members for name in names])
        weights = np.zeros(len(names))
        weights[is_member] = skill.softmax_weights(
            shrunk[is_member], estimate.n_eff[is_member], scale=options.weight_scale
        )
        # all that was scored; a question that only one model answered counts here but compares nobody
        scored = np.bincount(_columns(data, names)[data.model], data.sign, len(names))
        order = sorted(range(len(names)), key=lambda i: (shrunk[i], names[i]))
        return [
            Ranked(
                model_id=names[i],
                rank=place,
                skill=float(shrunk[i]),
                standard_error=None if np.isnan(estimate.standard_error[i]) else float(estimate.standard_error[i]),
                # a correction can outlast in the window what it takes back
                sample_size=max(0, int(scored[i])),
                effective_sample_size=float(estimate.n_eff[i]),
                weight=float(weights[i]),
            )
            for place, i in enumerate(order, start=1)
        ]

    def get_model_ranking(self, as_of: datetime | None = None) -> Ranking:
        """The ranking in force as of an instant (default: now); before the first one, equal weights are recorded."""
        at = as_of or self._instance.clock.now()
        with self._instance.database.connection() as connection:
            found = rankings.latest_ranking(connection, at)
        return found if found is not None else self._rank(floor_hour(at))

    def get_calibration(self, as_of: datetime | None = None) -> rankings.Calibration:
        """The calibration in force as of an instant (default: now); before the first one, slope 1 is recorded."""
        at = as_of or self._instance.clock.now()
        with self._instance.database.connection() as connection:
            found = rankings.latest_calibration(connection, at)
        return found if found is not None else self._calibrate(at)

    def calculate_accuracy(self, as_of: datetime | None = None, category: str = "*") -> list[Row]:
        """Accuracy, Brier score and log loss of each model over each window, as of the newest hour known."""
        with self._instance.database.connection() as connection:
            at = performance.latest_as_of(connection, as_of or self._instance.clock.now())
            return [] if at is None else performance.windows_at(connection, at, category)


def _score(row: Row) -> ModelPerformance:
    p_yes, outcome = np.array([row["p_yes"]]), np.array([row["outcome"]])
    return _performance(
        row,
        sign=1,
        known_at=row["known_at"],
        brier=float(brier_score(p_yes, outcome)[0]),
        log_loss=float(log_loss(p_yes, outcome)[0]),
        is_correct=bool(is_correct(p_yes, outcome)[0]),
    )


def _retraction(row: Row) -> ModelPerformance:
    return _performance(
        row,
        sign=-1,
        known_at=row["corrected_at"],
        brier=row["brier"],
        log_loss=row["log_loss"],
        is_correct=row["is_correct"],
    )


def _performance(
    row: Row, *, sign: int, known_at: datetime, brier: float, log_loss: float, is_correct: bool
) -> ModelPerformance:
    return ModelPerformance(
        forecast_id=row["forecast_id"],
        resolution_id=row["resolution_id"],
        sign=sign,
        model_name=row["model_id"],
        market_id=row["market_id"],
        event_id=row["event_id"],
        market_category=row["category"],
        volatility_regime=row["volatility_regime"],
        expiry_bucket=row["expiry_bucket"],
        asked_at=row["asked_at"],
        resolved_at=row["resolved_at"],
        known_at=known_at,
        p_yes=row["p_yes"],
        market_p=row["market_p"],
        outcome=row["outcome"],
        brier=brier,
        log_loss=log_loss,
        is_correct=is_correct,
        confidence=row["confidence"],
        response_time_ms=row["latency_ms"],
        cost_micro_usd=row["cost_micro_usd"],
    )


def _cells(data: ScoreArrays) -> CubeCells:
    return build_cells(
        data.known_at_s,
        data.model,
        data.category,
        data.p_yes,
        data.outcome,
        data.market_p,
        data.cost_micro_usd,
        data.latency_ms,
        data.sign,
    )


def _estimate_skill(data: ScoreArrays, names: Sequence[str], half_life: float) -> skill.SkillEstimate:
    """Paired differences to a level panel per question, aged in resolved events, clustered by event."""
    questions = int(data.forecast_group.max(initial=-1)) + 1
    p_yes = np.full((questions, len(names)), np.nan)
    outcome, event, known = (np.zeros(questions, dtype=np.int64) for _ in range(3))
    # rows come in ledger order, so a score taken back ends as absent and a correction ends as the newest word
    p_yes[data.forecast_group, _columns(data, names)[data.model]] = np.where(data.sign > 0, data.p_yes, np.nan)
    outcome[data.forecast_group] = data.outcome
    event[data.forecast_group] = data.event
    known[data.forecast_group] = data.known_at_s
    recency = skill.recency_weights(_age_in_events(event, known), half_life)
    levelled = skill.level_panels(skill.panel_differences(p_yes, outcome), recency)
    return skill.estimate_skill(levelled, event, recency)


def _columns(data: ScoreArrays, names: Sequence[str]) -> NDArray[np.int64]:
    return np.array([names.index(name) for name in data.models], dtype=np.int64)


def _age_in_events(event: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many events became known later than each question's."""
    names, index = np.unique(event, return_inverse=True)
    newest = np.zeros(len(names), dtype=np.int64)
    np.maximum.at(newest, index, known)
    age = len(names) - np.searchsorted(np.sort(newest), newest, side="right")
    return np.asarray(age[index], dtype=np.int64)


def _event_shares(rows: Sequence[Row]) -> NDArray[np.float64]:
    times = Counter(row["event_id"] for row in rows)
    return np.array([1.0 / times[row["event_id"]] for row in rows], dtype=np.float64)
