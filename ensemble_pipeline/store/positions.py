"""Paper positions between opening and settlement: their marks, and their exits.

Belongs here: reading what is open, keeping marks, selling, as a whole or in part. Does not: opening and settling
(``decisions``), which exit is due (``forecasting.exits``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import MICRO_PER_USD, Side
from ensemble_pipeline.forecasting.exits import ExitReason
from ensemble_pipeline.store.database import Connection, Row, require_row


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """A position nobody sold and no settlement paid yet. `highest_bid` is the highest its side was ever bid for.

    `reduced_at` is when a part of it was sold last.
    """

    position_id: int
    market_id: str
    ticker: str
    side: Side
    contracts: int
    cost_micro_usd: int
    fee_micro_usd: int
    opened_at: datetime
    closes_at: datetime
    highest_bid: Decimal | None
    reduced_at: datetime | None = None

    def part(self, contracts: int) -> "OpenPosition":
        """Some of its contracts, with their share of what was paid; the fee's is rounded down."""
        return replace(
            self,
            contracts=contracts,
            cost_micro_usd=self.cost_micro_usd * contracts // self.contracts,
            fee_micro_usd=self.fee_micro_usd * contracts // self.contracts,
        )

    def less(self, part: "OpenPosition") -> "OpenPosition":
        """What is left of it without a part."""
        return replace(
            self,
            contracts=self.contracts - part.contracts,
            cost_micro_usd=self.cost_micro_usd - part.cost_micro_usd,
            fee_micro_usd=self.fee_micro_usd - part.fee_micro_usd,
        )

    @property
    def paid_micro_usd(self) -> int:
        """What opening it cost, fee included."""
        return self.cost_micro_usd + self.fee_micro_usd

    @property
    def entry_price(self) -> float:
        """What a contract cost in dollars, fee included."""
        return self.paid_micro_usd / self.contracts / MICRO_PER_USD


@dataclass(frozen=True, slots=True)
class Mark:
    """What a position could be sold for at an instant, the fee of the sale not taken off; `bid` is of the held side.

    ``None`` where nobody would have bought.
    """

    position: OpenPosition
    marked_at: datetime
    bid: Decimal | None

    @property
    def value_micro_usd(self) -> int | None:
        """All contracts at the bid."""
        return None if self.bid is None else int(self.bid * self.position.contracts * MICRO_PER_USD)

    @property
    def unrealised_micro_usd(self) -> int | None:
        """Value less what was paid."""
        return None if self.value_micro_usd is None else self.value_micro_usd - self.position.paid_micro_usd


@dataclass(frozen=True, slots=True)
class Exit:
    """A sale of a whole position; of a part, once that is a position of its own."""

    position: OpenPosition
    at: datetime
    reason: ExitReason
    price: Decimal
    fee_micro_usd: int

    @property
    def proceeds_micro_usd(self) -> int:
        """What comes back, the fee taken off."""
        return int(self.price * self.position.contracts * MICRO_PER_USD) - self.fee_micro_usd

    @property
    def net_micro_usd(self) -> int:
        """Profit or loss over the position's life, net of both fees."""
        return self.proceeds_micro_usd - self.position.paid_micro_usd


# a market that has closed is marked once more, as something nobody buys; then its settlement is waited for
_STANDS = "p.closed_at is null and (p.marked_at is null or p.marked_at < m.closes_at)"


def is_mark_due(connection: Connection, now: datetime, patience: timedelta) -> bool:
    """Whether a position is open whose last mark is from before `now`, and at least `patience` old."""
    row = connection.execute(
        f"select exists (select from positions p join markets m using (market_id) where {_STANDS}"
        " and (p.marked_at is null or p.marked_at < %(now)s and p.marked_at <= %(before)s)) as is_due",
        {"now": now, "before": now - patience},
    ).fetchone()
    return bool(require_row(row)["is_due"])


def open_positions(connection: Connection, at: datetime) -> list[OpenPosition]:
    """Positions to mark at `at`: open, and not marked later already."""
    return _read_open(connection, at, "")


def lock_open_positions(connection: Connection, at: datetime) -> list[OpenPosition]:
    """The same, held against everyone else who would sell or settle them until the transaction ends.

    Who waits for the lock sees what the holder left: a position that was sold meanwhile is not among them.
    """
    return _read_open(connection, at, " for update of p")


def _read_open(connection: Connection, at: datetime, lock: str) -> list[OpenPosition]:
    rows = connection.execute(
        "select p.position_id, p.market_id, m.ticker, p.side, p.contracts, p.cost_micro_usd, p.fee_micro_usd,"
        " p.opened_at, m.closes_at, p.highest_bid, (select max(closed_at) from positions s"
        " where s.part_of = p.position_id) as reduced_at"
        f" from positions p join markets m using (market_id) where {_STANDS}"
        f" and p.opened_at <= %(at)s and (p.marked_at is null or p.marked_at <= %(at)s) order by p.position_id{lock}",
        {"at": at},
    ).fetchall()
    return [OpenPosition(**{**row, "side": Side(row["side"])}) for row in rows]


def save_marks(connection: Connection, marks: Sequence[Mark]) -> None:
    """Keep marks; of two looks at one instant the last counts."""
    rows = [
        {
            "id": mark.position.position_id,
            "at": mark.marked_at,
            "bid": mark.bid,
            "value": mark.value_micro_usd,
            "unrealised": mark.unrealised_micro_usd,
        }
        for mark in marks
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into position_marks (position_id, marked_at, bid, value_micro_usd, unrealised_micro_usd)"
            " values (%(id)s, %(at)s, %(bid)s, %(value)s, %(unrealised)s) on conflict (position_id, marked_at)"
            " do update set bid = excluded.bid, value_micro_usd = excluded.value_micro_usd,"
            " unrealised_micro_usd = excluded.unrealised_micro_usd",
            rows,
        )
        # greatest() passes over nulls
        cursor.executemany(
            "update positions set marked_at = %(at)s, highest_bid = greatest(highest_bid, %(bid)s::numeric)"
            " where position_id = %(id)s",
            rows,
        )


def sell(connection: Connection, sale: Exit) -> bool:
    """Close a position and book what came back; False where it was closed already, and then nothing is booked."""
    booked = connection.execute(
        "with sold as (update positions set closed_at = %(at)s, exit_reason = %(reason)s, exit_price = %(price)s,"
        " exit_fee_micro_usd = %(fee)s, payout_micro_usd = %(proceeds)s where position_id = %(id)s"
        " and closed_at is null returning position_id)"
        " insert into trade_log (position_id, kind, at, cash_micro_usd)"
        " select position_id, 'exit', %(at)s, %(proceeds)s from sold",
        {
            "id": sale.position.position_id,
            "at": sale.at,
            "reason": sale.reason,
            "price": sale.price,
            "fee": sale.fee_micro_usd,
            "proceeds": sale.proceeds_micro_usd,
        },
    )
    return booked.rowcount == 1


def sell_part(connection: Connection, sale: Exit) -> bool:
    """Make the contracts that are sold a position of their own and close that; False where nothing is open any more.

    What was paid for them moves with them, as two rows of the log that add up to nothing; the rest stays as it was.
    """
    part = sale.position
    values = {
        "id": part.position_id,
        "n": part.contracts,
        "cost": part.cost_micro_usd,
        "fee": part.fee_micro_usd,
        "paid": part.paid_micro_usd,
        "at": sale.at,
    }
    row = connection.execute(
        "with rest as (update positions set contracts = contracts - %(n)s, cost_micro_usd = cost_micro_usd - %(cost)s,"
        " fee_micro_usd = fee_micro_usd - %(fee)s where position_id = %(id)s and closed_at is null returning *)"
        " insert into positions (decision_id, market_id, side, contracts, entry_price, cost_micro_usd, fee_micro_usd,"
        " opened_at, marked_at, highest_bid, part_of) select decision_id, market_id, side, %(n)s, entry_price,"
        " %(cost)s, %(fee)s, opened_at, marked_at, highest_bid, position_id from rest returning position_id",
        values,
    ).fetchone()
    if row is None:
        return False
    connection.execute(
        "insert into trade_log (position_id, kind, at, cash_micro_usd)"
        " values (%(id)s, 'split', %(at)s, %(paid)s), (%(part)s, 'split', %(at)s, -%(paid)s::bigint)",
        values | {"part": row["position_id"]},
    )
    return sell(connection, replace(sale, position=replace(part, position_id=row["position_id"])))


def open_book(connection: Connection) -> list[Row]:
    """Every open position with its last mark, oldest first."""
    return connection.execute(
        "select p.position_id, p.market_id, p.side, p.contracts, p.entry_price,"
        " p.cost_micro_usd + p.fee_micro_usd as paid_micro_usd, k.bid, k.unrealised_micro_usd, p.highest_bid,"
        " p.opened_at, p.marked_at from positions p left join position_marks k using (position_id, marked_at)"
        " where p.closed_at is null order by p.position_id"
    ).fetchall()


def closed_book(connection: Connection, limit: int) -> list[Row]:
    """The positions closed last, by a sale or by settlement, with what they made net of fees."""
    return connection.execute(
        "select position_id, market_id, side, contracts, entry_price, coalesce(exit_reason, 'settlement') as closed_by,"
        " exit_price, payout_micro_usd - cost_micro_usd - fee_micro_usd as net_micro_usd, opened_at, closed_at"
        " from positions where closed_at is not null order by closed_at desc, position_id desc limit %s",
        [limit],
    ).fetchall()


def totals(connection: Connection) -> Row:
    """Positions in all, and micro-dollars: realised net of fees, and unrealised of the open ones that have a bid."""
    return require_row(
        connection.execute(
            "select count(*) as positions,"
            " coalesce(sum(p.payout_micro_usd - p.cost_micro_usd - p.fee_micro_usd), 0)::bigint as realised,"
            " coalesce(sum(k.unrealised_micro_usd) filter (where p.closed_at is null), 0)::bigint as unrealised"
            " from positions p left join position_marks k using (position_id, marked_at)"
        ).fetchone()
    )
