"""Open paper positions looked after: marked to market, and sold where an exit is due.

Runs in every operating mode: the table of modes stops new positions, never the way out of old ones.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import Quote
from ensemble_pipeline.ensemble.exiting import Bid, exit_of, held_bid, possible_sale, rules_of
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.modes import row_of
from ensemble_pipeline.ensemble.operating import mode_in_force
from ensemble_pipeline.store import positions
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.positions import Exit, Mark, OpenPosition
from ensemble_pipeline.store.worlds import note_look
from ensemble_pipeline.venues.base import Venue


@dataclass(frozen=True, slots=True)
class Managed:
    """What one look at the open positions came to.

    `without_bid` of the `marked` had nobody to sell to. `reduced` were sold in part: an exit was due that did not fit
    into what rests at the bid. `too_large` had one due for which not even one contract rests there. All of these wait
    for a deeper book.
    """

    marked: int
    without_bid: int
    too_large: int
    exits: dict[str, int]
    net_micro_usd: int
    reduced: int = 0


async def manage_positions(instance: Instance, venue: Venue) -> Managed:
    """Mark every open position by the venue's order book, and sell those whose exit is due.

    Marks and sales are one transaction under the positions' row locks, so that a second process at the same work, or
    a settlement, finds them done or not begun. Repeating a look at the same instant changes nothing.

    Raises:
        VenueError: the venue's answer cannot be used, or (``VenueUnavailableError``) there is none; nothing was done.
    """
    now = instance.clock.now()
    with instance.database.connection() as connection:
        known = {it.position_id: it for it in positions.open_positions(connection, now)}
    tickers = sorted({it.ticker for it in known.values() if it.closes_at > now})
    books = await venue.order_books(tickers) if tickers else {}
    # a clock that does not wait has moved on: what the reply says was not known before it came
    heard_at = instance.clock.now()
    with instance.database.connection() as connection:
        if tickers:
            note_look(connection, "quotes", heard_at)
        # what opened during the look was not asked about
        held = [it for it in positions.lock_open_positions(connection, heard_at) if it.position_id in known]
        bids = _bids(held, books, heard_at)
        positions.save_marks(connection, [Mark(it, heard_at, _price(bids.get(it.position_id))) for it in held])
        rules = rules_of(instance.settings.exits)
        found = (exit_of(rules, it, bids.get(it.position_id), heard_at) for it in held)
        due = [sale for sale in found if sale is not None]
        mode = row_of(mode_in_force(connection, heard_at).mode, instance.settings.modes)
        possible = [(it, possible_sale(mode, it, bids[it.position.position_id])) for it in due]
        fitting = [(it.position, sale) for it, sale in possible if sale is not None]
        sold = [(whole, sale) for whole, sale in fitting if _sell(connection, whole, sale, bids[whole.position_id])]
    exits = [sale for whole, sale in sold if sale.position == whole]
    return Managed(
        marked=len(held),
        without_bid=len(held) - len(bids),
        too_large=len(due) - len(fitting),
        exits=dict(Counter(str(sale.reason) for sale in exits)),
        net_micro_usd=sum(sale.net_micro_usd for _, sale in sold),
        reduced=len(sold) - len(exits),
    )


def _sell(connection: Connection, whole: OpenPosition, sale: Exit, bid: Bid) -> bool:
    """Book a sale of the whole position, or of a part, whose rest is marked anew; False where it was closed already."""
    if sale.position == whole:
        return positions.sell(connection, sale)
    is_sold = positions.sell_part(connection, sale)
    if is_sold:
        positions.save_marks(connection, [Mark(whole.less(sale.position), sale.at, bid.price)])
    return is_sold


def is_due(instance: Instance, patience: timedelta) -> bool:
    """Whether an open position has no mark, or one that is at least `patience` old and not of this instant."""
    with instance.database.connection() as connection:
        return positions.is_mark_due(connection, instance.clock.now(), patience)


def _bids(held: list[OpenPosition], books: Mapping[str, Quote], at: datetime) -> dict[int, Bid]:
    """The bid on each position's side, by position; those without one are absent."""
    found = {it.position_id: held_bid(it.side, books.get(it.ticker)) for it in held if it.closes_at > at}
    return {position_id: bid for position_id, bid in found.items() if bid is not None}


def _price(bid: Bid | None) -> Decimal | None:
    return None if bid is None else bid.price
