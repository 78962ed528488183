"""Made-up answers, read by ours and by what everybody else does: ``json.loads`` and a pydantic model.

The texts are those of the property tests, each with the probability that it states. Counted is how many each way reads
rightly, how many it does not read though they state one, and how many probabilities it makes up; timed is the reading
alone. And made-up pages of the venue, where a crash is anything but a row or a refusal.
"""

import json
import time
from collections.abc import Callable
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from ensemble_pipeline.clock import RealClock
from ensemble_pipeline.providers.answers import UnreadableAnswerError, read_answer
from ensemble_pipeline.venues.kalshi.wire import read_event, read_order_book, read_quote, read_settlement
from ensemble_pipeline_tests.fuzzing.answers import Said, answers, broken, is_stated
from ensemble_pipeline_tests.fuzzing.pages import Page, pages

T = TypeVar("T")
KNOWN, BROKEN, PAGES, ROUNDS = 5_000, 5_000, 2_000, 5


class _Answer(BaseModel):
    """What a user would write first."""

    model_config = ConfigDict(extra="ignore")

    p_yes: float
    confidence: float | None = None
    reasoning: str = ""


def _ours(text: str) -> float | None:
    try:
        return read_answer(text).p_yes
    except UnreadableAnswerError:
        return None


def _theirs(text: str) -> float | None:
    try:
        return _Answer.model_validate(json.loads(text)).p_yes
    except (ValueError, RecursionError, ValidationError):
        return None


def run() -> str:
    """Read all texts by both, in turns; then all pages."""
    known, torn = _drawn(answers(), KNOWN), _drawn(answers().flatmap(lambda said: broken(said.text)), BROKEN)
    texts = [said.text for said in known] + torn
    spent: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for name, read in (("ours", _ours), ("theirs", _theirs)):
            spent[name].append(_seconds(read, texts))
    ours, theirs = (min(times) * 1e6 / len(texts) for times in spent.values())
    found = _drawn(st.one_of(pages("events"), pages("markets"), pages("orderbooks")), PAGES)
    crashes = sum(map(_crashes, found))
    return (
        f"fuzzing: {len(texts)} answers, ours {_tally(_ours, known, torn)}, {ours:.1f} µs each; "
        f"json.loads and pydantic {_tally(_theirs, known, torn)}, {theirs:.1f} µs each, ratio {ours / theirs:.1f}\n"
        f"fuzzing: {len(found)} pages of the venue, {crashes} crashes"
    )


def _drawn(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """So many examples, the same in every run."""
    found: list[T] = []

    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.seed(1)
    @given(strategy)
    def draw(example: T) -> None:
        found.append(example)

    draw()
    return found


def _seconds(read: Callable[[str], float | None], texts: list[str]) -> float:
    start = time.process_time()
    for text in texts:
        read(text)
    return time.process_time() - start


def _tally(read: Callable[[str], float | None], known: list[Said], torn: list[str]) -> str:
    right = sum(read(it.text) == it.p_yes for it in known)
    missed = sum(it.p_yes is not None and read(it.text) is None for it in known)
    made_up = sum((p := read(it.text)) is not None and p != it.p_yes for it in known)
    made_up += sum((p := read(text)) is not None and not is_stated(p, text) for text in torn)
    return f"{right} of {len(known)} known ones right, {missed} unread, {made_up} probabilities made up"


def _crashes(page: Page) -> bool:
    try:
        for row in _rows(page):
            for read in _READERS[page.kind]:
                read(row)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is counted
        print(f"{type(error).__name__}: {error}")
        return True
    return False


def _rows(page: Page) -> list[object]:
    try:
        whole = json.loads(page.body)
    except (ValueError, RecursionError):
        return []
    rows = whole.get(page.kind) if isinstance(whole, dict) else None
    return rows if isinstance(rows, list) else []


_NOW = RealClock().now()
_READERS: dict[str, tuple[Callable[[object], object], ...]] = {
    "events": (lambda row: read_event(row, _NOW),),
    "markets": (lambda row: read_quote(row, _NOW), read_settlement),
    "orderbooks": (lambda row: read_order_book(row, _NOW),),
}
