"""`ensemble replay`: recorded decisions made again, and what that showed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ensemble_pipeline.errors import ReplayError
from ensemble_pipeline.pipeline.worlds import current_database
from ensemble_pipeline.replay.decisions import Alternative, Replayed, replay, replay_all
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.migrate import require_migrated


def read_replays(decision_id: int | None, alternative: Alternative | None) -> list[Replayed | ReplayError]:
    """One decision made again, or all of them (``None``).

    Raises:
        DecisionNotFoundError: there is no such decision.
        ReplayError: the one that was named cannot be made again.
        SettingsError: a change names no setting, or a value it does not take.
    """
    with current_database(load_settings()) as database:
        require_migrated(database)
        with database.connection() as connection:
            if decision_id is not None:
                return [replay(connection, decision_id, alternative)]
            return list(replay_all(connection, alternative))


def replay_summary(found: Sequence[Replayed | ReplayError], *, is_alternative: bool) -> dict[str, Any]:
    """What came of making decisions again, as JSON values."""
    made = [it for it in found if isinstance(it, Replayed)]
    return {
        "decisions": len(found),
        "bit_exact": sum(it.difference is None for it in made),
        "different": sum(it.difference is not None for it in made),
        "not_replayable": len(found) - len(made),
        "decided_by_other_code": sum(not it.is_same_code for it in made),
        "is_alternative": is_alternative,
        "recorded": _reasons(it.recorded.terminal_reason for it in made),
        "remade": _reasons(it.remade.terminal_reason for it in made),
        "differences": [_difference(it) for it in made if it.difference is not None],
    }


def _reasons(reasons: Iterator[str]) -> dict[str, int]:
    return {str(reason): n for reason, n in Counter(reasons).most_common()}


def _difference(it: Replayed) -> dict[str, Any]:
    first = it.difference
    return {
        "decision_id": it.decision_id,
        "first_difference": None if first is None else asdict(first),
        "recorded": it.recorded.final_decision,
        "remade": it.remade.final_decision,
        "p_final_recorded": it.recorded.p_final,
        "p_final_remade": it.remade.p_final,
        "remade_reasoning": it.remade.reasoning,
    }


def show_replay(summary: Mapping[str, Any]) -> str:
    """The summary as text: one line for the whole, one for each decision that differs."""
    return "\n".join(_replay_lines(summary))


def _replay_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{summary['decisions']} decisions made again: {summary['bit_exact']} bit-exact, "
        f"{summary['different']} different, {summary['not_replayable']} recorded before inputs were kept"
    )
    if summary["decided_by_other_code"]:
        yield f"{summary['decided_by_other_code']} were decided by other code than runs here"
    if summary["is_alternative"]:
        for name in ("recorded", "remade"):
            yield f"{name}: " + ", ".join(f"{reason} {n}" for reason, n in summary[name].items())
    for it in summary["differences"]:
        first = it["first_difference"]
        yield (
            f"decision {it['decision_id']}: {it['recorded']} → {it['remade']}; first difference in {first['where']}: "
            f"{first['recorded']} → {first['remade']}"
        )
