"""What a backtest came to, in sentences: each says what its interval shows, and nothing beyond it.

Belongs here: wording of scores, money and reasons. Does not: tables and pictures (the other modules named backtest).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ensemble_pipeline.domain import Reason
from ensemble_pipeline.pipeline.plots.differences import FEW_EVENTS, Difference, Verdict
from ensemble_pipeline.pipeline.plots.svg import signed

_CENT = 0.01
_REASONS = {
    Reason.CATEGORY: "category not traded",
    Reason.VOLUME: "volume too small",
    Reason.CERTAINTY: "everybody certain",
    Reason.DISAGREEMENT: "members disagree",
    Reason.CONFIDENCE: "confidence too low",
    Reason.NO_QUOTE: "no bid or ask",
    Reason.EDGE: "edge too small",
    Reason.SIZE: "position too small",
}


def findings(report: Mapping[str, Any], strategy: str) -> Iterator[str]:
    """The sentences at the head of an archive; `strategy` is the one of the settings."""
    if not report["rows"]:
        yield "No question that anybody answered has resolved: there is nothing to score."
    else:
        gaps = report["differences"]
        without = difference_of("the plain mean", gaps["ensemble_without_market_minus_plain_mean"])
        yield f"Without the price the ensemble {comparison(without)}"
        market = difference_of("the market", gaps["ensemble_minus_market"])
        if market.n_rows:
            yield f"With the price the ensemble {comparison(market)}"
        else:
            yield "The archive holds no prices: nothing can be said about the market, and nothing could be traded."
    yield paper_sentence(strategy, report["strategies"][strategy])


def difference_of(name: str, told: Mapping[str, Any]) -> Difference:
    """A difference of the report, named after what the ensemble is compared with."""
    estimate = float("nan") if told["estimate"] is None else told["estimate"]
    interval = None if told["ci95"] is None else (told["ci95"][0], told["ci95"][1])
    return Difference(name, estimate, interval, told["rows"], told["events"])


def comparison(it: Difference) -> str:
    """What goes on after "the ensemble"."""
    basis = f"{count(it.n_rows, 'row')} of {count(it.n_events, 'event')}"
    if it.interval is None:
        return (
            f"cannot be compared with {it.name}: too few events for an interval "
            f"({basis}; the difference was {signed(it.estimate, 4)} Brier points)."
        )
    low, high = it.interval
    caution = f" From fewer than {FEW_EVENTS} events an interval is too narrow." if it.is_thin else ""
    if it.verdict is Verdict.TIED:
        told = f"difference {signed(it.estimate, 4)}, 95% interval {signed(low, 4)} to {signed(high, 4)}"
        return f"cannot be told apart from {it.name} ({told}; negative is better; {basis}).{caution}"
    near, far = sorted((abs(low), abs(high)))
    return (
        f"was {it.verdict} than {it.name} by {abs(it.estimate):.4f} Brier points "
        f"(95% interval {near:.4f} to {far:.4f}; {basis}).{caution}"
    )


def short_comparison(it: Difference) -> str:
    """The verdict in a few words.

    >>> short_comparison(Difference("the market", -0.0131, (-0.0171, -0.0092), 398, 200))
    'better by 0.0131'
    """
    is_clear = it.verdict in {Verdict.BETTER, Verdict.WORSE}
    told = f"{it.verdict} by {abs(it.estimate):.4f}" if is_clear else str(it.verdict)
    return f"{told} (few events)" if it.is_thin else told


def paper_sentence(strategy: str, told: Mapping[str, Any]) -> str:
    """What a strategy did with its paper money, and what its calls cost."""
    paper, spent = told["paper"], f"calls cost {usd(told['cost_usd'])}"
    who = f"{spaced(strategy).capitalize()}, the strategy of the settings,"
    if not paper["trades"]:
        return f"{who} made no trade on paper (the last word was: {', '.join(why_skipped(told, 2))}); {spent}."
    net, trades = paper["net_profit_usd"], count(paper["trades"], "trade")
    verb = "broke even" if not net else f"{'earned' if net > 0 else 'lost'} {usd(abs(net))}"
    left = paper["open_positions"]
    still = f" Not counted: {count(left, 'position')} still open." if left else ""
    return (
        f"{who} {verb} on paper after fees, in {trades} that staked {usd(paper['staked_usd'])}; "
        f"{spent}, which leaves {signed_usd(net - told['cost_usd'])}.{still}"
    )


def why_skipped(told: Mapping[str, Any], most: int) -> list[str]:
    """The most frequent reasons for not trading, with how often each was the last word."""
    reasons = [(name, n) for name, n in told["terminal_reasons"].items() if name != Reason.TRADED]
    named = [f"{_reason(name)} {n:,}" for name, n in reasons[:most]]
    others = sum(n for _, n in reasons[most:])
    return [*named, f"other reasons {others:,}"] if others else named


def _reason(name: str) -> str:
    return _REASONS.get(Reason(name), spaced(name))


def spaced(name: str) -> str:
    """A name of the code as words."""
    return name.replace("_", " ")


def count(n: int, noun: str) -> str:
    """How many of something.

    >>> count(1, "row"), count(1200, "event")
    ('1 row', '1,200 events')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def usd(amount: float) -> str:
    """Dollars; of less than a cent, the first digits that count.

    >>> usd(1234.5), usd(0.0042), usd(0)
    ('$1,234.50', '$0.0042', '$0.00')
    """
    return f"${amount:.4f}" if 0 < amount < _CENT else f"${amount:,.2f}"


def signed_usd(amount: float) -> str:
    """Dollars with their sign.

    >>> signed_usd(-3.2), signed_usd(0.5), signed_usd(0)
    ('−$3.20', '+$0.50', '$0.00')
    """
    return ("−" if amount < 0 else "+" if amount > 0 else "") + usd(abs(amount))
