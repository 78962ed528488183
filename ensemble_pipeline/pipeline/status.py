"""`ensemble status`: the state of the instance at a glance."""

from typing import Any

from ensemble_pipeline.ensemble.monitor import EnsembleMonitor
from ensemble_pipeline.pipeline.mode import describe
from ensemble_pipeline.pipeline.worlds import current_instance


def read_status() -> dict[str, Any]:
    """The state of the instance last started here, or of the database that is named.

    Raises:
        DatabaseError: the database lacks tables that this code reads.
    """
    with current_instance() as instance:
        return EnsembleMonitor(instance).track_performance()


def show_status(state: dict[str, Any]) -> str:
    """The state as text, one subject a line."""
    markets, decisions, paper = state["markets"], state["decisions"], state["paper"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in decisions["by_terminal_reason"].items())
    calls = ", ".join(f"{status} {count}" for status, count in state["model_calls"].items())
    lines = {
        "world": f"{state['world']}, now {state['now']}",
        "mode": describe(state["mode"]),
        "markets": f"{markets['seen']} seen, {markets['asked_about']} put before the models, "
        f"{markets['settled']} settled, {markets['rejected_rows']} rows refused",
        "decisions": f"{decisions['total']} ({reasons or 'none yet'}), {markets['undecided']} waiting, "
        f"last at {state['last_decision_at'] or '–'}",
        "model calls": calls or "none yet",
        "spend today": f"${state['spend_today_usd']:.4f} spent, ${state['held_usd']:.4f} held",
        "alerts": ", ".join(f"{it['kind']} ({it['subject']})" for it in state["alerts"]) or "none",
        "paper": f"{paper['trades']} trades, {paper['open_positions']} open, "
        f"net ${paper['net_profit_usd']:+.2f} after ${paper['fees_usd']:.2f} fees",
        "learnt until": state["learnt_until"] or "nothing settled yet",
    }
    return "\n".join(f"{subject:<14} {text}" for subject, text in lines.items())
