from decimal import Decimal
from pathlib import Path

import pytest

from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.replay.archive_names import make_model
from ensemble_pipeline.replay.price_list import is_listed, read_price_list, reprice

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "prices_2025.json"


def prices_in(folder: Path, text: str) -> Path:
    path = folder / "prices.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_longest_beginning_tells_the_price_and_what_is_not_listed_keeps_its_own(tmp_path: Path) -> None:
    prices = read_price_list(prices_in(tmp_path, '{"gpt": [1, 2.5], "gpt-4o-mini": ["0.15", "0.6"]}'))
    found = {name: reprice(make_model(name), prices) for name in ("gpt-4o-mini+cot", "gpt-5", "grok-4")}
    assert (found["gpt-4o-mini+cot"].input_usd_per_mtok, found["gpt-4o-mini+cot"].output_usd_per_mtok) == (
        Decimal("0.15"), Decimal("0.6"),
    )  # fmt: skip
    assert found["gpt-5"].output_usd_per_mtok == Decimal("2.5")
    assert found["grok-4"] == make_model("grok-4")
    assert (is_listed("gpt-5", prices), is_listed("grok-4", prices)) == (True, False)


def test_example_lists_exact_prices() -> None:
    prices = read_price_list(EXAMPLE)
    assert prices["openai-gpt-4o-mini"] == (Decimal("0.15"), Decimal("0.60"))
    assert all(0 < low <= high for low, high in prices.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"a": 1}', "'a' must be"),
        ('{"a": [1]}', r'must be .* got \["1"\]'),
        ('{"a": [1, 2, 3]}', "'a' must be"),
        ('{"a": [1, -2]}', "at least 0"),
        ('{"a": [1, "x"]}', "'a' must be"),
        ('{"a": ["NaN", 1]}', "'a' must be"),
        ('{"a": [Infinity, 1]}', "'a' must be"),
        ('{"a": [null, 1]}', "'a' must be"),
        ('{"a": [[1], 1]}', "'a' must be"),
    ],
)
def test_list_that_is_none_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        read_price_list(prices_in(tmp_path, text))


def test_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_price_list(tmp_path / "none.json")
