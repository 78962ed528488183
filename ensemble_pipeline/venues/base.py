"""What every venue offers, in the words of ``domain``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ensemble_pipeline.domain import Listing, Quote, RejectedRow, Settlement


@dataclass(frozen=True, slots=True)
class ListingPage:
    """One page of open markets; `next_cursor` is ``None`` at the end, `rejected` holds rows that made no sense."""

    listings: tuple[Listing, ...]
    next_cursor: str | None
    rejected: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class SettlementBatch:
    """Final settlements; `unsettled` names markets listed without one, `rejected` holds rows that made no sense."""

    settlements: tuple[Settlement, ...]
    unsettled: tuple[str, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()


class Venue(Protocol):
    """Reads of one venue. Every method raises ``VenueUnavailableError`` or ``VenueError``, nothing else."""

    name: str

    async def open_markets(self, cursor: str | None = None) -> ListingPage:
        """One page of the markets open for trading, with their top of book."""
        ...

    async def quotes(self, tickers: Sequence[str]) -> dict[str, Quote]:
        """Fresh tops of book; tickers the venue does not know are absent from the result."""
        ...

    async def order_books(self, tickers: Sequence[str]) -> dict[str, Quote]:
        """The best level of each side of the order books, with its size: what an order could be filled on now."""
        ...

    async def settlements(self, tickers: Sequence[str]) -> SettlementBatch:
        """Which of `tickers` settled, finally, and which are listed and did not."""
        ...

    async def aclose(self) -> None:
        """Release the connections."""
        ...
