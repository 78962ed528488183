"""Archives of a few lines, written by the test that needs them."""

import gzip
from pathlib import Path

QUESTION_COLUMNS = "question_id,event_id,question,category,source,opened_at,closes_at,resolved_at,outcome"
FORECAST_COLUMNS = "question_id,model,asked_at,probability,cost_usd,latency_ms,input_tokens,output_tokens"
PRICE_COLUMNS = "question_id,observed_at,probability,bid,ask,volume"

QUESTION = "q1,,Will it rain?,weather,somewhere,2025-08-01T00:00:00Z,2025-08-05T00:00:00Z,2025-08-06T00:00:00Z,1"
OTHER_QUESTION = '"q2",e1,"Rain, or snow?",weather,somewhere,,2025-08-09T00:00:00Z,,'
FORECAST = "q1,gpt-x,2025-08-01T00:00:00Z,0.7,0.001,900,1000,200"
PRICE = "q1,2025-08-01T00:00:00Z,0.65,0.64,0.66,1200"


def write_archive(
    folder: Path,
    questions: list[str] | None = None,
    forecasts: list[str] | None = None,
    prices: list[str] | None = None,
) -> Path:
    """Write the given lines; the file is left out where they are ``None``, questions default to two good ones."""
    folder.mkdir(exist_ok=True)
    files = {
        "questions.csv.gz": (QUESTION_COLUMNS, [QUESTION, OTHER_QUESTION] if questions is None else questions),
        "forecasts.csv.gz": (FORECAST_COLUMNS, forecasts),
        "prices.csv.gz": (PRICE_COLUMNS, prices),
    }
    for name, (header, lines) in files.items():
        if lines is not None:
            write_file(folder / name, [header, *lines])
    return folder


def write_file(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
