"""Learning: settled markets become scores, scores become cube, windows, calibration and the ranking of models."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from ensemble_pipeline.clock import floor_hour
from ensemble_pipeline.domain import Ranking
from ensemble_pipeline.ensemble import calibrating, upkeep
from ensemble_pipeline.ensemble.calibrating import SettledPools
from ensemble_pipeline.ensemble.distributions import UNKNOWN, distributions_at
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.judging import judge
from ensemble_pipeline.ensemble.scored import retraction, score_all, without_duplicates
from ensemble_pipeline.ensemble.upkeep import LONGEST_WINDOW_HOURS, Learnt
from ensemble_pipeline.store import calibrations, learning, markets, rankings, scores, windows
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.database import Connection, Row
from ensemble_pipeline.store.decisions import settled_pools
from ensemble_pipeline.store.rankings import ModelStrength, ModelTrend
from ensemble_pipeline.store.score_arrays import load_known
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT, OVER_ALL


@dataclass(frozen=True, slots=True)
class ScoredForecasts:
    """Rows appended to the ledger, and rows refused with a reason."""

    appended: int
    refused: int


class PerformanceTracker:
    """Scores forecasts as their markets settle and keeps every derived table in step with the ledger."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def record_prediction_result(self) -> ScoredForecasts:
        """Score every forecast whose market has a resolution and no score yet.

        A resolution that was corrected takes its earlier scores back (sign -1) and scores again, both known when
        the correction became known. A row that makes no sense is kept under `rejected_rows`; the rest goes on.
        """
        now = self._instance.clock.now()
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            # named before they are read: one that comes in between is left to the next time
            followed = scores.unfollowed(connection)
            scored = score_all(scores.unscored(connection, now))
            wanted = [*(retraction(row) for row in scores.outdated(connection, now)), *scored.scores]
            known = scores.known_scores(connection, [score.forecast_id for score in wanted])
            fresh = without_duplicates(wanted, known)
            refused = [*scored.refused, *fresh.refused]
            markets.save_rejected(connection, refused, now)
            scores.append_scores(connection, fresh.scores)
            scores.mark_followed(connection, followed)
        return ScoredForecasts(len(fresh.scores), len(refused))

    def update_skill_cube(self, first: date, last: date, *, is_restatement: bool = False) -> int:
        """Rebuild the hourly sums of the days from `first` to `last` from the ledger; returns the cells written.

        A restatement only adds what the ledger holds and the cube does not.

        Raises:
            PartitionRangeError: the range is empty or begins in the future.
        """
        update = upkeep.follow_ledger if is_restatement else upkeep.rebuild_cube
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            return update(connection, first, last, self._instance.clock.now())

    def update_rolling_windows(self, first: date, last: date, *, is_restatement: bool = False) -> Learnt:
        """Materialise the hourly as-of rows of the days from `first` to `last`, up to the present hour.

        The rows depend on the ledger alone: by the hour, by the day, all at once or restated, they come out the same.
        A restatement adds to the windows that stand what was appended to the ledger after they were built.

        Raises:
            PartitionRangeError: the range is empty or begins in the future.
        """
        update = upkeep.restate_windows if is_restatement else upkeep.rebuild_windows
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            return update(connection, first, last, self._instance.clock.now())

    def days_to_learn(self) -> tuple[date, date] | None:
        """The span of days whose windows lack an hour by now; ``None`` where all reach up to it."""
        with self._instance.database.connection() as connection:
            days = learning.days_due(connection, floor_hour(self._instance.clock.now()))
        return (days[0], days[-1]) if days else None

    def days_to_restate(self) -> list[tuple[date, date]]:
        """Ranges of consecutive days whose windows stand and that a late or corrected settlement touches."""
        with self._instance.database.connection() as connection:
            return learning.spans(learning.late_days(connection, LONGEST_WINDOW_HOURS))

    def unlearnt_resolution(self) -> int | None:
        """The newest of the resolutions the ledger has not followed; ``None`` where it followed all."""
        with self._instance.database.connection() as connection:
            return scores.newest_unlearnt_resolution(connection, self._instance.clock.now())

    def learnt_until(self) -> datetime | None:
        """The as-of hour up to which the windows are materialised."""
        with self._instance.database.connection() as connection:
            return learning.learnt_until(connection)

    def calibrate(self) -> Calibration:
        """Fit the calibration of the pooled forecast on decisions settled by now, and record it."""
        return self._calibrate(self._instance.clock.now())

    def _calibrate(self, as_of: datetime) -> Calibration:
        with self._instance.database.connection() as connection:
            pools = SettledPools.of(settled_pools(connection, as_of))
            fitted = calibrating.fit(pools, self._instance.settings.ensemble, as_of)
            return calibrations.save_calibration(connection, fitted)

    def reliability(self) -> calibrating.Reliability:
        """Calibrated forecasts of settled decisions against outcomes, with what chance alone could show."""
        with self._instance.database.connection() as connection:
            return calibrating.reliability(SettledPools.of(settled_pools(connection, self._instance.clock.now())))

    def rank(self) -> Ranking:
        """Judge the models by what is known as of the newest hour of the windows, and record the ranking."""
        with self._instance.database.connection() as connection:
            scores.lock_learning(connection)
            newest = learning.newest_day(connection)
            if newest is None:
                return self._rank(connection, floor_hour(self._instance.clock.now()), scores.last_score_id(connection))
            # rows that the windows do not hold yet are left to the ranking that comes with theirs
            through = max(newest.through_score_id, learning.through_score_id(connection, "windows"))
            return self._rank(connection, newest.as_of, through)

    def _rank(self, connection: Connection, as_of: datetime, through: int) -> Ranking:
        window_from = as_of - timedelta(hours=LONGEST_WINDOW_HOURS)
        members = self._instance.register_members(connection)
        data = load_known(connection, as_of, through)
        said = judge(data, members, int(window_from.timestamp()), self._instance.settings.ensemble)
        return rankings.save_ranking(
            connection, as_of, said.ranked, said.correlations, said.trends, said.strengths, said.levels
        )

    def get_model_ranking(self, as_of: datetime | None = None) -> Ranking:
        """The ranking in force as of an instant (default: now); before the first one, equal weights are recorded."""
        at = as_of or self._instance.clock.now()
        with self._instance.database.connection() as connection:
            found = rankings.latest_ranking(connection, at)
            if found is not None:
                return found
            scores.lock_learning(connection)
            return self._rank(connection, floor_hour(at), scores.last_score_id(connection))

    def get_strengths(self, ranking: Ranking) -> Sequence[ModelStrength]:
        """What the models of a ranking are good and bad at."""
        with self._instance.database.connection() as connection:
            return rankings.strengths_of(connection, ranking.ranking_id)

    def get_trends(self, ranking: Ranking) -> Mapping[str, ModelTrend]:
        """Where the models of a ranking are heading, by name."""
        with self._instance.database.connection() as connection:
            return {it.model_id: it for it in rankings.trends_of(connection, ranking.ranking_id)}

    def get_calibration(self, as_of: datetime | None = None) -> Calibration:
        """The calibration in force as of an instant (default: now); before the first one, slope 1 is recorded."""
        at = as_of or self._instance.clock.now()
        with self._instance.database.connection() as connection:
            found = calibrations.latest_calibration(connection, at)
        return found if found is not None else self._calibrate(at)

    def calculate_accuracy(
        self, as_of: datetime | None = None, dimension: str = OVER_ALL, segment: str = EVERY_SEGMENT
    ) -> list[Row]:
        """Accuracy, Brier score and log loss of each model over each window, as of the newest hour known.

        Over all segments with the calibration error and the latency that 95% of the calls stay below.

        Args:
            as_of: Default: now.
            dimension: ``all``, ``category``, ``regime`` or ``expiry``.
            segment: A value of the dimension; ``*`` of ``all``.
        """
        with self._instance.database.connection() as connection:
            at = learning.learnt_until(connection, as_of or self._instance.clock.now())
            if at is None:
                return []
            rows = windows.windows_at(connection, at, dimension, segment)
            if dimension != OVER_ALL:
                return rows
            shapes = distributions_at(connection, at)
        return [row | asdict(shapes.get((row["window_hours"], row["model_id"]), UNKNOWN)) for row in rows]
