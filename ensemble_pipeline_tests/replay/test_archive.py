import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.replay.archive import ArchiveForecast, ArchivePrice, ArchiveQuestion, read_archive
from ensemble_pipeline_tests.replay.small_archive import (
    FORECAST,
    PRICE,
    QUESTION,
    QUESTION_COLUMNS,
    write_archive,
    write_file,
)


def day(number: int) -> datetime:
    return datetime(2025, 8, number, tzinfo=UTC)


def test_read_archive_reads_every_value(tmp_path: Path) -> None:
    archive = read_archive(write_archive(tmp_path / "small", forecasts=[FORECAST], prices=[PRICE]))
    assert archive.name == "small"
    assert archive.questions == (
        ArchiveQuestion("q1", "", "Will it rain?", "weather", "somewhere", day(1), day(5), day(6), True),
        ArchiveQuestion("q2", "e1", "Rain, or snow?", "weather", "somewhere", None, day(9), None, None),
    )
    assert archive.forecasts == (ArchiveForecast("q1", "gpt-x", day(1), 0.7, Decimal("0.001"), 900, 1000, 200),)
    book = (Decimal("0.65"), Decimal("0.64"), Decimal("0.66"))
    assert archive.prices == (ArchivePrice("q1", day(1), *book, Decimal(1200)),)


def test_empty_values_are_unknown(tmp_path: Path) -> None:
    archive = read_archive(
        write_archive(
            tmp_path, forecasts=["q1,gpt-x,2025-08-01T00:00:00Z,,,,,"], prices=["q1,2025-08-01T00:00:00Z,,,,"]
        )
    )
    assert archive.forecasts == (ArchiveForecast("q1", "gpt-x", day(1), None, None, None, None, None),)
    assert archive.prices == (ArchivePrice("q1", day(1), None, None, None, None),)


def test_forecasts_and_prices_may_be_absent(tmp_path: Path) -> None:
    archive = read_archive(write_archive(tmp_path))
    assert (archive.forecasts, archive.prices) == ((), ())


def test_times_of_another_zone_become_utc(tmp_path: Path) -> None:
    archive = read_archive(write_archive(tmp_path, prices=["q1,2025-08-01T02:00:00+02:00,0.5,,,"]))
    assert archive.prices[0].observed_at == day(1)


def test_content_hash_follows_the_content_not_the_compression(tmp_path: Path) -> None:
    first = read_archive(write_archive(tmp_path, prices=[PRICE])).content_hash
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=5))
    assert read_archive(tmp_path).content_hash == first
    assert read_archive(write_archive(tmp_path, prices=[PRICE.replace("1200", "1201")])).content_hash != first


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        (QUESTION.replace("2025-08-01T", "yesterday"), "opened_at", "yesterday00:00:00Z"),
        (QUESTION.replace("2025-08-05T00:00:00Z", "2025-08-05T00:00:00"), "closes_at", "2025-08-05T00:00:00"),
        (QUESTION.replace("2025-08-05T00:00:00Z", ""), "closes_at", ""),
        (QUESTION.replace("2025-08-06T00:00:00Z", ""), "resolved_at", ""),
        (QUESTION.replace("2025-08-06", "2025-07-06"), "resolved_at", "2025-07-06T00:00:00Z"),
        (QUESTION.replace("2025-08-05", "2025-07-05"), "closes_at", "2025-07-05T00:00:00Z"),
        (QUESTION[:-1] + "2", "outcome", "2"),
        (QUESTION.replace("q1", ""), "question_id", ""),
        (QUESTION.replace("Will it rain?", " "), "question", " "),
    ],
)
def test_impossible_question_is_refused_with_its_place(tmp_path: Path, line: str, column: str, value: str) -> None:
    assert_refused(write_archive(tmp_path, questions=[line]), "questions.csv.gz", 2, column, value)


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        (FORECAST.replace("0.7", "1.2"), "probability", "1.2"),
        (FORECAST.replace("0.7", "-0.1"), "probability", "-0.1"),
        (FORECAST.replace("0.7", "nan"), "probability", "nan"),
        (FORECAST.replace("0.7", "70%"), "probability", "70%"),
        (FORECAST.replace("2025-08-01T00:00:00Z", "soon"), "asked_at", "soon"),
        (FORECAST.replace("gpt-x", ""), "model", ""),
        (FORECAST.replace("0.001", "-1"), "cost_usd", "-1"),
        (FORECAST.replace("900", "0.5"), "latency_ms", "0.5"),
        (FORECAST.replace("1000", "1e99"), "input_tokens", "1e99"),
        (FORECAST.replace("q1", "q9"), "question_id", "q9"),
    ],
)
def test_impossible_forecast_is_refused_with_its_place(tmp_path: Path, line: str, column: str, value: str) -> None:
    good = FORECAST.replace("gpt-x", "other")
    assert_refused(write_archive(tmp_path, forecasts=[good, line]), "forecasts.csv.gz", 3, column, value)


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        (PRICE.replace("0.64", "64"), "bid", "64"),
        (PRICE.replace("0.66", "inf"), "ask", "inf"),
        (PRICE.replace("0.65", "NaN"), "probability", "NaN"),
        (PRICE.replace("1200", "-5"), "volume", "-5"),
        (PRICE.replace("q1", "q9"), "question_id", "q9"),
    ],
)
def test_impossible_price_is_refused_with_its_place(tmp_path: Path, line: str, column: str, value: str) -> None:
    assert_refused(write_archive(tmp_path, prices=[line]), "prices.csv.gz", 2, column, value)


def assert_refused(folder: Path, name: str, line: int, column: str, value: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        read_archive(folder)
    message = str(refused.value)
    assert f"{folder / name}, line {line}, column {column}: {value!r}" in message


def test_repeated_rows_are_refused(tmp_path: Path) -> None:
    for number, repeated in enumerate(
        [{"questions": [QUESTION, QUESTION]}, {"forecasts": [FORECAST, FORECAST]}, {"prices": [PRICE, PRICE]}]
    ):
        with pytest.raises(ArchiveError, match="line 3, column question_id: 'q1' repeats line 2"):
            read_archive(write_archive(tmp_path / str(number), **repeated))


def test_missing_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"questions\.csv\.gz is missing"):
        read_archive(tmp_path)
    with pytest.raises(ArchiveError, match="holds no question"):
        read_archive(write_archive(tmp_path, questions=[]))


def test_missing_column_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "questions.csv.gz", [QUESTION_COLUMNS.replace(",outcome", ""), "q1"])
    with pytest.raises(ArchiveError, match="line 1: column outcome is missing"):
        read_archive(tmp_path)


def test_line_with_too_few_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="line 2: 1 values for 9 columns"):
        read_archive(write_archive(tmp_path, questions=["q1"]))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"question_id\n", "cannot be unpacked"),
        (gzip.compress(b"question_id" * 99)[:-9], "cannot be unpacked"),
        (gzip.compress("frühling".encode("latin-1")), "is not UTF-8"),
        (gzip.compress(f'{QUESTION_COLUMNS}\nq1,"open'.encode()), "is not CSV"),
    ],
    ids=["no gzip", "cut", "latin-1", "open quote"],
)
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "questions.csv.gz").write_bytes(content)
    with pytest.raises(ArchiveError, match=why):
        read_archive(tmp_path)
