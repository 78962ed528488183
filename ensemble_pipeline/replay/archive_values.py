"""Single values of an archive's rows: texts turned into times, numbers and outcomes, or refused with their place.

Belongs here: one value at a time. Does not: what rows must agree on (``replay.archive``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from ensemble_pipeline.errors import ArchiveError

_SHOWN_VALUE = 60
_MOST = Decimal(10) ** 15
_OUTCOMES = {"": None, "0": False, "1": True}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file. Each reader raises ``ArchiveError`` where the value is not what its name says."""

    path: Path
    line: int
    values: dict[str, str]

    def error(self, column: str, why: str) -> ArchiveError:
        """The error that names this line, `column` and its value."""
        value = self.values[column]
        shown = repr(value if len(value) <= _SHOWN_VALUE else value[:_SHOWN_VALUE] + "…")
        return ArchiveError(f"{self.path}, line {self.line}, column {column}: {shown} {why}")

    def text(self, column: str) -> str:
        """The text, which may be empty."""
        return self.values[column]

    def needed_text(self, column: str) -> str:
        """The text, which may not be empty."""
        if not self.values[column].strip():
            raise self.error(column, "is empty; give it a value")
        return self.values[column]

    def time(self, column: str) -> datetime | None:
        """The time in UTC, or ``None`` where empty."""
        value = self.values[column]
        if not value:
            return None
        try:
            return _parse_time(value)
        except (ValueError, OverflowError):
            raise self.error(column, "is not a time with its zone; write it as 2025-10-26T00:00:00Z") from None

    def needed_time(self, column: str) -> datetime:
        """The time in UTC, which may not be empty."""
        at = self.time(column)
        if at is None:
            raise self.error(column, "is empty; write a time as 2025-10-26T00:00:00Z")
        return at

    def share(self, column: str) -> Decimal | None:
        """A number in [0, 1], or ``None`` where empty."""
        number = self._number(column)
        if number is not None and not 0 <= number <= 1:
            raise self.error(column, "lies outside [0, 1]; give the probability of YES as a share, not in per cent")
        return number

    def amount(self, column: str) -> Decimal | None:
        """A finite number of at least 0, or ``None`` where empty."""
        number = self._number(column)
        if number is not None and number < 0:
            raise self.error(column, "is negative; leave it empty where it is not known")
        return number

    def whole(self, column: str) -> int | None:
        """A whole number of at least 0, or ``None`` where empty."""
        number = self.amount(column)
        if number is None:
            return None
        if number != number.to_integral_value():
            raise self.error(column, "is not a whole number; round it")
        return int(number)

    def outcome(self, column: str) -> bool | None:
        """1 is YES, 0 is NO, empty is not resolved."""
        value = self.values[column]
        if value not in _OUTCOMES:
            raise self.error(column, "is no outcome; write 1, 0, or nothing where it is not resolved")
        return _OUTCOMES[value]

    def _number(self, column: str) -> Decimal | None:
        value = self.values[column]
        if not value:
            return None
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise self.error(column, "is not a number; correct it or leave it empty") from None
        if not number.is_finite() or abs(number) > _MOST:
            raise self.error(column, "is not a finite, plausible number; leave it empty where it is not known")
        return number


@lru_cache(maxsize=4096)
def _parse_time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("no time zone")
    return at.astimezone(UTC)
