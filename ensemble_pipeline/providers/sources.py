"""The pages a model found when it searched the web: cleaned, bounded, and refused where they tell of the future.

Belongs here: what is kept of a source, and whether all sources of a reply were there when the question was asked. Does
not: where a dialect puts them, whether the world is one that knows a future (``ensemble``).
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

from ensemble_pipeline.domain import Source
from ensemble_pipeline.providers.texts import one_line

MAX_SOURCES = 30
URL_LENGTH = 500
TITLE_LENGTH = 200
DATE_LENGTH = 40

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ].*)?")
_WRITTEN = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}), (\d{4})")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# a page says a day, not where on earth: it has ended everywhere twelve hours after it did in UTC
_ENDS_LAST = timedelta(days=1, hours=12)


def kept(found: Iterable[Source]) -> tuple[Source, ...]:
    """What is kept of `found`: at most 30 pages with an http(s) address, each once, its words on one line.

    Of a page that is named several times the first title and the first date are kept.

    >>> kept([Source("https://a.org/x"), Source("javascript:alert(1)"), Source("https://a.org/x", "A page")])
    (Source(url='https://a.org/x', title='A page', stated_date=''),)
    """
    by_url: dict[str, Source] = {}
    for raw in found:
        url = one_line(raw.url, URL_LENGTH)
        if not _is_web_address(url) or (url not in by_url and len(by_url) == MAX_SOURCES):
            continue
        before = by_url.get(url, Source(url))
        title = before.title or one_line(raw.title, TITLE_LENGTH)
        by_url[url] = Source(url, title, before.stated_date or one_line(raw.stated_date, DATE_LENGTH))
    return tuple(by_url.values())


def problem_with(found: Iterable[Source], as_of: datetime) -> str | None:
    """Why an answer that rests on `found` must not be used for a question asked at `as_of`; ``None`` where it may.

    Every page must be dated, and its day must have ended everywhere on earth at `as_of`.
    """
    for source in found:
        published = published_on(source)
        name = one_line(source.url, URL_LENGTH) or one_line(source.title, TITLE_LENGTH) or "a page without an address"
        if published is None:
            said = one_line(source.stated_date, DATE_LENGTH)
            dated = f"is dated {said!r}, which is no day" if said else "has no date"
            return f"rests on a source that {dated}, so that it may be later than the question: {name}"
        if published > (as_of.astimezone(UTC) - _ENDS_LAST).date():
            return f"rests on a source of {published.isoformat()}, which may be later than the question: {name}"
    return None


def published_on(source: Source) -> date | None:
    """The day a source is dated, or ``None`` where it states none that can be read; an age is no day.

    >>> published_on(Source("https://a.org", stated_date="April 30, 2025"))
    datetime.date(2025, 4, 30)
    >>> published_on(Source("https://a.org", stated_date="2 days ago"))
    """
    text = source.stated_date.strip()
    if iso := _ISO.fullmatch(text):
        return _day(int(iso[1]), int(iso[2]), int(iso[3]))
    written = _WRITTEN.fullmatch(text)
    if written is None or written[1][:3].lower() not in _MONTHS:
        return None
    return _day(int(written[3]), _MONTHS.index(written[1][:3].lower()) + 1, int(written[2]))


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc != ""
