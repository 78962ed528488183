"""A list of prices for the models of an archive, to ask what it would have cost at others than its own.

Belongs here: reading such a list, and whose price it tells. Does not: the prices of archives (archive_names.py).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.sandbox.world import WorldModel

PriceList: TypeAlias = Mapping[str, tuple[Decimal, Decimal]]
"""Dollars per million tokens, input and output, by how a model's name begins."""


def read_price_list(path: Path) -> PriceList:
    """Prices from a JSON file: an object with ``[input, output]``, dollars per million tokens, by a name's beginning.

    Raises:
        ArchiveError: the file cannot be read, or is no such list; names the line that is not.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)
    except OSError as error:
        raise ArchiveError(f"price list {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"price list {path} is no JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ArchiveError(f"price list {path} is no JSON object with names of models")
    return {name: _prices(path, name, value) for name, value in raw.items()}


def reprice(model: WorldModel, prices: PriceList) -> WorldModel:
    """The model at the price of the longest name of the list that its own begins with; else as it was."""
    beginning = _beginning(model.name, prices)
    if beginning is None:
        return model
    input_usd, output_usd = prices[beginning]
    return replace(model, input_usd_per_mtok=input_usd, output_usd_per_mtok=output_usd)


def is_listed(name: str, prices: PriceList) -> bool:
    """Whether the list tells the price of a model."""
    return _beginning(name, prices) is not None


def _beginning(name: str, prices: PriceList) -> str | None:
    return max((it for it in prices if name.startswith(it)), key=len, default=None)


def _prices(path: Path, name: str, value: Any) -> tuple[Decimal, Decimal]:  # noqa: ANN401 - JSON as it came
    try:
        input_usd, output_usd = (Decimal(it) for it in value)
    except (TypeError, ValueError, InvalidOperation):
        input_usd = output_usd = Decimal(-1)
    if not (input_usd.is_finite() and output_usd.is_finite() and min(input_usd, output_usd) >= 0):
        raise ArchiveError(
            f"price list {path}: {name!r} must be [input, output] in dollars per million tokens, each at least 0; "
            f"got {json.dumps(value, default=str)}"
        )
    return input_usd, output_usd
