"""Paper positions put straight into the record, as a decision would have opened them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from ensemble_pipeline.domain import Quote
from ensemble_pipeline.store.contexts import StoredContext, save_context
from ensemble_pipeline.store.database import Connection, require_row
from ensemble_pipeline.venues.kalshi.fees import taker_fee_usd
from ensemble_pipeline_tests.ensemble.venue import Play

USD = 1_000_000


def hold(play: Play, ticker: str, side: str = "yes", contracts: int = 100, price: str = "0.40") -> int:
    """Scan, and open a position in the market at `price` on `side`, with its fee; returns the position."""
    if not play.rows(f"select from market_snapshots where market_id = 'kalshi:{ticker}'"):
        play.scan()
    stake = int(Decimal(price) * contracts * USD)
    fee = int(taker_fee_usd(Decimal(price), Decimal(contracts)) * USD)
    now = play.clock.now()
    with play.instance.database.connection() as connection:
        decision = _decide(connection, ticker, side, contracts, price, stake, fee, now)
        row = connection.execute(
            "insert into positions (decision_id, market_id, side, contracts, entry_price, cost_micro_usd,"
            " fee_micro_usd, opened_at) values (%s, %s, %s, %s, %s, %s, %s, %s) returning position_id",
            [decision, f"kalshi:{ticker}", side, contracts, price, stake, fee, now],
        ).fetchone()
        position = int(require_row(row)["position_id"])
        connection.execute(
            "insert into trade_log (position_id, kind, at, cash_micro_usd) values (%s, 'open', %s, %s)",
            [position, now, -(stake + fee)],
        )
    return position


def _decide(
    connection: Connection, ticker: str, side: str, contracts: int, price: str, stake: int, fee: int, at: datetime
) -> int:
    row = connection.execute(
        "insert into decisions (snapshot_id, market_id, decided_at, batch_id, run_id, action, side, terminal_reason,"
        " route, strategy, trade_value_micro_usd, limit_price, contracts, stake_micro_usd, fee_micro_usd, reasoning,"
        " gates, inputs, context_id, ranking_id, calibration_id, settings_hash, code_version)"
        " select max(s.snapshot_id), s.market_id, %(at)s, c.batch_id, c.run_id, 'trade', %(side)s, 'traded', 'full',"
        " 'weighted_voting', 1, %(price)s, %(contracts)s, %(stake)s, %(fee)s, '', '[]', '{}', c.context_id,"
        " c.ranking_id, c.calibration_id, c.settings_hash, c.code_version"
        " from market_snapshots s, decision_contexts c where s.market_id = %(market)s and c.context_id = %(context)s"
        " group by s.market_id, c.context_id returning decision_id",
        {
            "at": at,
            "side": side,
            "price": price,
            "contracts": contracts,
            "stake": stake,
            "fee": fee,
            "market": f"kalshi:{ticker}",
            "context": _context(connection, at),
        },
    ).fetchone()
    return int(require_row(row)["decision_id"])


def _context(connection: Connection, at: datetime) -> int:
    connection.execute("insert into settings_snapshots values ('hash', '{}', now()) on conflict do nothing")
    row = connection.execute(
        "with r as (insert into model_rankings (as_of, partition_day, known_forecasts) values (%(at)s, %(at)s, 0)"
        " returning ranking_id), c as (insert into calibration_tables (as_of, slope, n, effective_n)"
        " values (%(at)s, 1, 0, 0) returning calibration_id)"
        " select ranking_id, calibration_id, (select max(batch_id) from decision_batches) as batch_id from r, c",
        {"at": at},
    ).fetchone()
    ids = require_row(row)
    return save_context(
        connection, StoredContext(**ids, run_id="run", planned_at=at, method="advanced", settings_hash="hash",
                                  code_version="1", operating_mode="normal", budget_day=at.date(), spent_micro_usd=0,
                                  held_micro_usd=0, health={})
    )  # fmt: skip


class Books:
    """A venue that shows these books, whatever the clock says, and remembers what it was asked for."""

    name = "kalshi"

    def __init__(self, **books: Quote) -> None:
        self.books = {name.replace("_", "-"): book for name, book in books.items()}
        self.asked: list[str] = []

    async def order_books(self, tickers: Sequence[str]) -> dict[str, Quote]:
        """The books of those it knows."""
        self.asked += tickers
        return {ticker: self.books[ticker] for ticker in tickers if ticker in self.books}
