"""Reads an archive: up to three gzipped CSV files of questions, forecasts and prices, each value checked.

Belongs here: the format and what is impossible in it. Does not: playing it (``replay.archive_world``).

=====================  ==============================================================================================
``questions.csv.gz``   question_id, event_id, question, category, source, opened_at, closes_at, resolved_at, outcome
``forecasts.csv.gz``   question_id, model, asked_at, probability, cost_usd, latency_ms, input_tokens, output_tokens
``prices.csv.gz``      question_id, observed_at, probability, bid, ask, volume
=====================  ==============================================================================================

UTF-8, times in UTC as ``2025-10-26T00:00:00Z``, probabilities and prices in [0, 1] for YES. The last two files are
optional, further columns are ignored. Empty means unknown; it is allowed where the field below is ``None``-able, and
for ``event_id`` (the question is an event of its own).
"""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.replay.archive_values import Row

_Record = TypeVar("_Record")

LONGEST_MODEL_NAME = 120
QUESTIONS, FORECASTS, PRICES = "questions.csv.gz", "forecasts.csv.gz", "prices.csv.gz"
_COLUMNS = {
    QUESTIONS: (
        "question_id", "event_id", "question", "category", "source", "opened_at", "closes_at", "resolved_at", "outcome",
    ),
    FORECASTS: (
        "question_id", "model", "asked_at", "probability", "cost_usd", "latency_ms", "input_tokens", "output_tokens",
    ),
    PRICES: ("question_id", "observed_at", "probability", "bid", "ask", "volume"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveQuestion:
    """One question. `outcome` is ``None`` where it is not resolved; then `resolved_at` means nothing."""

    question_id: str
    event_id: str
    question: str
    category: str
    source: str
    opened_at: datetime | None
    closes_at: datetime
    resolved_at: datetime | None
    outcome: bool | None


@dataclass(frozen=True, slots=True)
class ArchiveForecast:
    """One model's probability of YES; ``None`` where the call failed or could not be read."""

    question_id: str
    model: str
    asked_at: datetime
    p_yes: float | None
    cost_usd: Decimal | None
    latency_ms: int | None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class ArchivePrice:
    """A market's price of YES in dollars: mid or crowd, and the book where it was published; volume in contracts."""

    question_id: str
    observed_at: datetime
    mid: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    volume: Decimal | None


@dataclass(frozen=True, slots=True)
class Archive:
    """A checked archive. `content_hash` is the SHA-256 of the uncompressed files, in hex."""

    name: str
    content_hash: str
    questions: tuple[ArchiveQuestion, ...]
    forecasts: tuple[ArchiveForecast, ...]
    prices: tuple[ArchivePrice, ...]


def read_archive(folder: Path) -> Archive:
    """Read and check the archive in `folder`.

    Raises:
        ArchiveError: a file, column or value is missing or impossible; the message names file, line, column and
            value, and what to do.
    """
    digest = hashlib.sha256()
    questions = tuple(_unique(_read(folder, QUESTIONS, digest.update, is_needed=True), _question, _by_id))
    if not questions:
        raise ArchiveError(f"{folder / QUESTIONS} holds no question; an archive needs at least one")
    known = frozenset(question.question_id for question in questions)
    forecasts = _read(folder, FORECASTS, digest.update)
    prices = _read(folder, PRICES, digest.update)
    return Archive(
        name=folder.resolve().name,
        questions=questions,
        forecasts=tuple(_unique(_of_known(forecasts, known), _forecast, _by_call)),
        prices=tuple(_unique(_of_known(prices, known), _price, _by_observation)),
        content_hash=digest.hexdigest(),
    )


def _by_id(question: ArchiveQuestion) -> tuple[object, ...]:
    return (question.question_id,)


def _by_call(forecast: ArchiveForecast) -> tuple[object, ...]:
    return (forecast.question_id, forecast.model, forecast.asked_at)


def _by_observation(price: ArchivePrice) -> tuple[object, ...]:
    return (price.question_id, price.observed_at)


def _unique(
    rows: Iterable[Row], parse: Callable[[Row], _Record], key_of: Callable[[_Record], tuple[object, ...]]
) -> Iterator[_Record]:
    seen: dict[tuple[object, ...], int] = {}
    for row in rows:
        parsed = parse(row)
        first = seen.setdefault(key_of(parsed), row.line)
        if first != row.line:
            raise row.error("question_id", f"repeats line {first}; keep one of the two")
        yield parsed


def _of_known(rows: Iterable[Row], known: frozenset[str]) -> Iterator[Row]:
    for row in rows:
        if row.text("question_id") not in known:
            raise row.error("question_id", f"is not in {QUESTIONS}; add the question or drop the row")
        yield row


def _question(row: Row) -> ArchiveQuestion:
    opened_at, closes_at, resolved_at = row.time("opened_at"), row.needed_time("closes_at"), row.time("resolved_at")
    outcome = row.outcome("outcome")
    if outcome is not None and resolved_at is None:
        raise row.error("resolved_at", "is empty though there is an outcome; say when it became known")
    if opened_at is not None and resolved_at is not None and resolved_at < opened_at:
        raise row.error("resolved_at", "lies before opened_at; correct one of them")
    if opened_at is not None and closes_at < opened_at:
        raise row.error("closes_at", "lies before opened_at; correct one of them")
    return ArchiveQuestion(
        question_id=row.needed_text("question_id"),
        event_id=row.text("event_id"),
        question=row.needed_text("question"),
        category=row.needed_text("category"),
        source=row.needed_text("source"),
        opened_at=opened_at,
        closes_at=closes_at,
        resolved_at=resolved_at,
        outcome=outcome,
    )


def _forecast(row: Row) -> ArchiveForecast:
    p_yes = row.share("probability")
    model = row.needed_text("model")
    if len(model) > LONGEST_MODEL_NAME:
        raise row.error("model", f"is longer than {LONGEST_MODEL_NAME} characters; shorten the name")
    return ArchiveForecast(
        question_id=row.text("question_id"),
        model=model,
        asked_at=row.needed_time("asked_at"),
        p_yes=None if p_yes is None else float(p_yes),
        cost_usd=row.amount("cost_usd"),
        latency_ms=row.whole("latency_ms"),
        input_tokens=row.whole("input_tokens"),
        output_tokens=row.whole("output_tokens"),
    )


def _price(row: Row) -> ArchivePrice:
    return ArchivePrice(
        question_id=row.text("question_id"),
        observed_at=row.needed_time("observed_at"),
        mid=row.share("probability"),
        bid=row.share("bid"),
        ask=row.share("ask"),
        volume=row.amount("volume"),
    )


def _read(folder: Path, name: str, digest: Callable[[bytes], object], *, is_needed: bool = False) -> Iterator[Row]:
    path = folder / name
    if not path.is_file():
        if is_needed:
            raise ArchiveError(f"{path} is missing; an archive is a folder with {QUESTIONS} in it")
        return
    try:
        content = gzip.decompress(path.read_bytes())
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{path} cannot be unpacked ({error}); compress it with gzip again") from None
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    digest(content)
    yield from _rows(path, text, _COLUMNS[name])


def _rows(path: Path, text: str, columns: tuple[str, ...]) -> Iterator[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        if missing := [column for column in columns if column not in header]:
            raise ArchiveError(
                f"{path}, line 1: column {missing[0]} is missing; the header must name {', '.join(columns)}"
            )
        for values in lines:
            if len(values) != len(header):
                raise ArchiveError(
                    f"{path}, line {lines.line_num}: {len(values)} values for {len(header)} columns; "
                    "quote commas in texts"
                )
            yield Row(path, lines.line_num, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise ArchiveError(f"{path}, line {lines.line_num}: is not CSV ({error}); correct the quotes") from None
