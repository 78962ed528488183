"""Recorded decisions made again from what they rested on, without calling anyone.

Belongs here: making them again, under the same or other settings, and comparing. Does not: how anything is decided
(``ensemble``), where it is kept (``store.chain``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError

from ensemble_pipeline.domain import Forecast, Route, Strategy
from ensemble_pipeline.ensemble import calibrating
from ensemble_pipeline.ensemble.calibrating import SettledPools
from ensemble_pipeline.ensemble.code_version import code_version
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import BatchContext, Method
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.ensemble.stored import read_accounts, read_health, read_inputs
from ensemble_pipeline.errors import ReplayError, SettingsError
from ensemble_pipeline.settings import MemberSettings, Policy
from ensemble_pipeline.store import calibrations, chain, contexts, rankings
from ensemble_pipeline.store.budget import DaySpend
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.decisions import EnsembleDecision, settled_pools
from ensemble_pipeline.store.efficiency import efficiency_by_id

# what a calibration is fitted by: under another value of one of these it is fitted again
_FITTED_BY = (
    "clip",
    "market_weight",
    "max_market_weight",
    "market_weight_ridge",
    "price_gap_scale",
    "temperature_ridge",
    "intercept_ridge",
    "intercept_from_events",
)
# what acts on rankings, health, mode and answers alone, which a decision made again takes as they were recorded
_ACTED_BEFORE = {
    "ensemble": frozenset(
        {
            "half_life_resolutions",
            "skill_spread",
            "segment_prior_events",
            "max_attempts",
            "decision_deadline_s",
            "show_market_price",
        }
    ),
    "modes": frozenset(
        {
            "earlier_hours",
            "earlier_confidence_share",
            "degraded_below_available",
            "conservative_below_available",
            "degraded_below_success",
            "conservative_below_success",
            "evidence_minutes",
            "min_calls",
            "venue_silent_minutes",
            "recovery_minutes",
        }
    ),
}
# what modes allowed before there were settings for it
_MODES_BEFORE = {
    "stake_share_of": "kelly",
    "degraded_extra_confidence": 0,
    "conservative_extra_confidence": 0,
    "minimal_extra_confidence": 0,
    "conservative_positions": "unlimited",
    "minimal_positions": "unlimited",
    "minimal_is_single": False,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place in which a decision made again differs from the recorded one."""

    where: str
    recorded: Any
    remade: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision as it was recorded and as it was made again; `difference` is ``None`` where they agree to the bit."""

    decision_id: int
    recorded: EnsembleDecision
    remade: EnsembleDecision
    difference: Difference | None

    @property
    def is_same_code(self) -> bool:
        """Whether the code that runs is the code that decided."""
        return self.recorded.code_version == code_version()


@dataclass(frozen=True, slots=True)
class Alternative:
    """What is changed against the recorded settings: the strategy, and settings by dotted name."""

    strategy: Strategy | None = None
    changes: Mapping[str, Any] | None = None


def replay(connection: Connection, decision_id: int, alternative: Alternative | None = None) -> Replayed:
    """Make a decision again.

    Raises:
        DecisionNotFoundError: there is no such decision.
        ReplayError: it was recorded before the inputs of decisions were kept.
        SettingsError: a change names no setting that decisions made again follow, or a value it does not take.
    """
    return _Replayer(connection, alternative or Alternative()).replay(decision_id)


def replay_all(connection: Connection, alternative: Alternative | None = None) -> Iterator[Replayed | ReplayError]:
    """Make every decision again, in the order in which they were recorded."""
    replayer = _Replayer(connection, alternative or Alternative())
    for decision_id in chain.decision_ids(connection):
        try:
            yield replayer.replay(decision_id)
        except ReplayError as error:
            yield error


class _Replayer:
    def __init__(self, connection: Connection, alternative: Alternative) -> None:
        self._connection = connection
        self._alternative = alternative
        # decisions of a batch share theirs
        self._fitted: tuple[tuple[int, str], Calibration] | None = None

    def replay(self, decision_id: int) -> Replayed:
        recorded = chain.load_decision(self._connection, decision_id)
        if not recorded.inputs:
            raise ReplayError(
                f"decision {decision_id} was recorded before the inputs of decisions were kept; it cannot be made again"
            )
        remade = self._decide(recorded)
        return Replayed(decision_id, recorded, remade, _first_difference(recorded, remade))

    def _decide(self, recorded: EnsembleDecision) -> EnsembleDecision:
        kept = chain.settings_kept(self._connection, recorded.settings_hash)
        policy = _policy(kept, self._alternative)
        snapshot, standing, filling = read_inputs(recorded.inputs)
        context = self._context(recorded, kept, policy)
        plan = Planner(policy, context).plan(snapshot, standing)
        answers = chain.answers_of(self._connection, recorded)
        if self._alternative.changes:
            before = _policy(kept, Alternative())
            planned = Planner(before, self._context(recorded, kept, before)).plan(snapshot, standing)
            answers = _heard(answers, planned, plan)
        # where one model decides there is nothing to combine
        forced = None if plan.route in (Route.SINGLE, Route.PAIR) else self._alternative.strategy
        # under other settings others would have been asked
        consulted = () if self._alternative.changes else recorded.models_consulted
        consensus = opinion_on(engine_of(policy, context), plan, answers, forced, consulted)
        return conclude(policy, context, plan, consensus, filling)

    def _context(self, recorded: EnsembleDecision, settings: Mapping[str, Any], policy: Policy) -> BatchContext:
        kept = contexts.load_context(self._connection, recorded.context_id)
        ranking = rankings.ranking_by_id(self._connection, kept.ranking_id)
        calibration = calibrations.calibration_by_id(self._connection, kept.calibration_id)
        if ranking is None or calibration is None:
            raise ReplayError(f"context {recorded.context_id} names a ranking or calibration that is gone")
        trends = rankings.trends_of(self._connection, kept.ranking_id)
        return BatchContext(
            context_id=recorded.context_id,
            now=kept.planned_at,
            batch_id=kept.batch_id,
            run_id=kept.run_id,
            # as recorded, unless its switch is off now
            method=Method.allowed(policy, Method(kept.method)),
            ranking=ranking,
            strengths=rankings.strengths_of(self._connection, kept.ranking_id),
            degraded=frozenset(it.model_id for it in trends if it.is_degraded),
            calibration=self._calibration(calibration, kept.settings_hash, settings, policy),
            health=read_health(kept.health),
            operating_mode=kept.operating_mode,
            spend=DaySpend(kept.budget_day, kept.spent_micro_usd, kept.held_micro_usd, **read_accounts(kept.accounts)),
            settings_hash=kept.settings_hash,
            code_version=kept.code_version,
            disputed=frozenset(kept.disputed),
            efficiency=None if kept.efficiency_id is None else efficiency_by_id(self._connection, kept.efficiency_id),
        )

    def _calibration(
        self, recorded: Calibration, settings_hash: str, settings: Mapping[str, Any], policy: Policy
    ) -> Calibration:
        """The recorded calibration; fitted again on what had settled by then where its settings are others."""
        if not self._alternative.changes:
            return recorded
        before = _policy(settings, Alternative()).ensemble
        if all(getattr(before, name) == getattr(policy.ensemble, name) for name in _FITTED_BY):
            return recorded
        key = recorded.calibration_id, settings_hash
        if self._fitted is None or self._fitted[0] != key:
            pools = SettledPools.of(settled_pools(self._connection, recorded.as_of))
            fitted = calibrating.fit(pools, policy.ensemble, recorded.as_of)
            self._fitted = key, replace(fitted, calibration_id=recorded.calibration_id)
        return self._fitted[1]


def _heard(answers: list[Forecast], before: Plan, now: Plan) -> list[Forecast]:
    """The answers that count under another plan: who stood in for a member that failed is heard with the others."""
    if not now.members:
        return []
    left_out = {member.name for member in before.members} - {member.name for member in now.members}
    return [answer for answer in answers if answer.model_id not in left_out]


def _policy(kept: Mapping[str, Any], alternative: Alternative) -> Policy:
    settings = _known(kept)
    if alternative.strategy is not None:
        settings = _with(settings, "ensemble.strategy", alternative.strategy)
    for name, value in (alternative.changes or {}).items():
        settings = _with(settings, name, value)
    try:
        return Policy.model_validate(settings)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        lines = [f"  {'.'.join(str(part) for part in it['loc']) or 'settings'}: {it['msg']}" for it in details]
        if alternative == Alternative():
            raise ReplayError(
                "\n".join(["the settings kept with a decision do not fit this release:", *lines])
            ) from None
        raise SettingsError("\n".join(["These settings do not fit:", *lines])) from None


def _known(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Kept settings without those that this release knows no more."""
    usual = Policy()
    sections = {name: type(getattr(usual, name)) for name in Policy.model_fields}
    known: dict[str, Any] = {"modes": dict(_MODES_BEFORE)}
    for name, section in sections.items():
        if name == "members":
            known[name] = [_fields_of(MemberSettings, it) for it in kept.get(name, ())]
        elif name in kept:
            known[name] = _fields_of(section, kept[name]) if issubclass(section, BaseModel) else kept[name]
    return known


def _fields_of(model: type[BaseModel], kept: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kept.items() if name in model.model_fields}


def _with(settings: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON value
    first, _, rest = name.partition(".")
    if first not in Policy.model_fields:
        known = ", ".join(Policy.model_fields)
        raise SettingsError(f"{name}: decisions follow no setting of this name; they follow those below {known}")
    if not rest:
        return {**settings, first: value}
    section = settings.get(first, {})
    if not isinstance(section, Mapping) or "." in rest:
        raise SettingsError(f"{name}: name one value of a section, as ensemble.market_weight")
    if rest not in type(getattr(Policy(), first)).model_fields:
        raise SettingsError(f"{name}: section {first} has no setting {rest!r}; docs/settings.md lists them")
    if rest in _ACTED_BEFORE.get(first, ()):
        raise SettingsError(
            f"{name} acts on rankings, health, mode or answers alone, and a decision made again takes these as recorded"
        )
    return {**settings, first: {**section, rest: value}}


def _first_difference(recorded: EnsembleDecision, remade: EnsembleDecision) -> Difference | None:
    return next(_differences("", asdict(recorded), asdict(remade)), None)


def _differences(where: str, recorded: object, remade: object) -> Iterator[Difference]:
    if isinstance(recorded, Mapping) and isinstance(remade, Mapping):
        for name in (*recorded, *(it for it in remade if it not in recorded)):
            place = f"{where}.{name}" if where else str(name)
            yield from _differences(place, recorded.get(name), remade.get(name))
    elif _is_list(recorded) and _is_list(remade):
        for index in range(max(len(recorded), len(remade))):
            yield from _differences(f"{where}[{index}]", _item(recorded, index), _item(remade, index))
    elif recorded != remade:
        yield Difference(where, recorded, remade)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _item(values: Sequence[Any], index: int) -> Any:  # noqa: ANN401 - an item of JSON
    return values[index] if index < len(values) else None
