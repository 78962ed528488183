"""Archives put together from questions as values, for tests that ask what was known when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.backtest.rows import played
from ensemble_pipeline.replay.backtest.walk import Walk, walk
from ensemble_pipeline.settings import Settings
from ensemble_pipeline_tests.replay.small_archive import write_archive

START = datetime(2025, 8, 1, tzinfo=UTC)
MODELS = ("claude-b", "gpt-a", "grok-c")


@dataclass(frozen=True)
class Asked:
    """What models said about a question so many hours after the start, ``None`` for a failed call; and the price."""

    hours: float
    said: Mapping[str, float | None]
    price: float | None = None


@dataclass(frozen=True)
class Question:
    """A question that opens and resolves so many hours after the start (``None``: never)."""

    name: str
    outcome: bool | None = True
    resolves: float | None = 96
    rows: Sequence[Asked] = ()
    event: str = ""
    category: str = "weather"
    opens: float = field(default=0)


def at(hours: float) -> str:
    """An instant as an archive writes it."""
    return (START + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def write_questions(folder: Path, questions: Sequence[Question]) -> Path:
    """Write the archive."""
    lines, forecasts, prices = [], [], []
    for it in questions:
        closes = at(9000 if it.resolves is None else it.resolves)
        resolved, outcome = ("", "") if it.outcome is None or it.resolves is None else (closes, str(int(it.outcome)))
        event = it.event or f"e-{it.name}"
        lines.append(
            f"{it.name},{event},Will {it.name}?,{it.category},somewhere,{at(it.opens)},{closes},{resolved},{outcome}"
        )
        for row in it.rows:
            for model, p in row.said.items():
                said, cost = ("", "") if p is None else (p, 0.001)
                forecasts.append(f"{it.name},{model},{at(row.hours)},{said},{cost},900,1000,200")
            if row.price is not None:
                bid, ask = row.price - 0.01, row.price + 0.01
                prices.append(f"{it.name},{at(row.hours)},{row.price:.2f},{bid:.2f},{ask:.2f},500000")
    return write_archive(folder, lines, forecasts, prices)


def walked(folder: Path, questions: Sequence[Question], settings: Settings | None = None) -> Walk:
    """Walk through the archive of these questions."""
    return walk(played(read_archive(write_questions(folder, questions))), settings or Settings())


def settled_before(n: int, *, resolves: float = 24, hours: float = 0) -> list[Question]:
    """So many questions that gpt-a sees well, claude-b less so and grok-c not at all."""
    return [
        Question(
            f"old{i}",
            outcome=i % 2 == 0,
            resolves=resolves,
            rows=[Asked(hours, dict(zip(MODELS, _said(i), strict=True)), 0.5)],
            category=("weather", "sport")[i % 3 == 0],
        )
        for i in range(n)
    ]


def _said(i: int) -> tuple[float, float, float]:
    right = 0.60 + 0.02 * (i % 7), 0.80 + 0.01 * (i % 9), 0.45 - 0.02 * (i % 4)
    first, second, third = right if i % 2 == 0 else tuple(round(1 - p, 2) for p in right)
    return first, second, third
