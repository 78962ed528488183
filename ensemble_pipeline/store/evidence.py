"""What was published about markets. Append-only; each piece with when the world could know it and when we did."""

from collections.abc import Sequence
from datetime import datetime

from ensemble_pipeline.clock import require_utc
from ensemble_pipeline.domain import Evidence
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store.database import Connection

SOURCE_LENGTH = 200
TEXT_LENGTH = 50_000


def save_evidence(connection: Connection, market_id: str, evidence: Sequence[Evidence], now: datetime) -> int:
    """Keep what was published about a known market, as known from `now` on; returns how many pieces are new.

    A piece with the market, source, time and text of one that is kept changes nothing.

    Raises:
        InputError: a piece is dated after `now`, lacks source or text, or has more than 200 characters of source or
            50,000 of text.
    """
    return sum(
        connection.execute(
            "insert into market_evidence (market_id, published_at, known_at, source, content, content_sha256)"
            " values (%(id)s, %(at)s, %(now)s, %(source)s, %(text)s,"
            " encode(sha256(convert_to(%(text)s, 'UTF8')), 'hex')) on conflict do nothing",
            {"id": market_id, "at": _checked(it, now), "now": now, "source": it.source, "text": it.text},
        ).rowcount
        for it in evidence
    )


def evidence_known(
    connection: Connection, market_ids: Sequence[str], as_of: datetime
) -> dict[str, tuple[Evidence, ...]]:
    """What was published about each market and known here at `as_of`, newest first; markets without any are absent."""
    rows = connection.execute(
        "select market_id, published_at, source, content from market_evidence where market_id = any(%(ids)s)"
        " and published_at <= %(as_of)s and known_at <= %(as_of)s"
        " order by market_id, published_at desc, evidence_id desc",
        {"ids": list(market_ids), "as_of": as_of},
    )
    found: dict[str, tuple[Evidence, ...]] = {}
    for row in rows:
        piece = Evidence(row["published_at"], row["source"], row["content"])
        found[row["market_id"]] = (*found.get(row["market_id"], ()), piece)
    return found


def _checked(piece: Evidence, now: datetime) -> datetime:
    """The time a piece was published, once the piece is known to be fit to be kept."""
    if not 0 < len(piece.text) <= TEXT_LENGTH or not 0 < len(piece.source) <= SOURCE_LENGTH:
        raise InputError(
            f"evidence needs a text of at most {TEXT_LENGTH} and a source of at most {SOURCE_LENGTH} characters; "
            f"these have {len(piece.text)} and {len(piece.source)}. Name both, shortened if need be."
        )
    published_at = require_utc(piece.published_at, "published_at")
    if published_at > now:
        raise InputError(
            f"evidence from {piece.source!r} is dated {published_at.isoformat()}, after the instance's present "
            f"{now.isoformat()}: correct the date, or add it once the instance's clock is there"
        )
    return published_at
