"""What the cost report advises: each piece with the numbers it rests on, none where the numbers say nothing.

Pure: reads the report alone. A rule is a function that returns its advice or nothing; `RULES` is their list.
"""

from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

Report = Mapping[str, Any]
Advice = dict[str, Any]

_FAILING_SHARE, _FAILING_CALLS = 0.2, 20
_DEAR_SHARE = 0.25
_IDLE_MARKET_SHARE, _IDLE_ANALYSES = 0.05, 6
_SHORT_OF_LIMIT = 0.1


def advise(report: Report) -> list[Advice]:
    """All advice that the report's numbers carry."""
    return [advice for rule in RULES for advice in rule(report)]


def _limits_come_too_early(report: Report) -> Iterator[Advice]:
    heading = report["projection"]
    for limit, what in (("hard", "every call stops"), ("soft", "new analyses stop")):
        at = heading[f"{limit}_limit_reached_at"]
        if at is not None:
            yield _advice(
                f"{limit}_limit",
                f"At the present rate the {limit} limit is reached at {at[:16]} UTC, and {what}. Raise the limit, "
                "demand more volume of a market, or let markets rest longer between two analyses.",
                demand_by_midnight_usd=heading["demand_by_midnight_usd"],
                limit_usd=heading[f"{limit}_limit_usd"],
            )
            return


def _models_that_fail(report: Report) -> Iterator[Advice]:
    for it in report["by_model"]:
        share = it["failed"] / it["calls"] if it["calls"] else 0.0
        if it["calls"] >= _FAILING_CALLS and share >= _FAILING_SHARE and it["cost_usd"]:
            yield _advice(
                "failing_model",
                f"{it['model']} gave no usable answer in {share:.0%} of {it['calls']} calls. Read its problems in "
                "llm_queries; raise max_output_tokens where answers are cut, or disable it.",
                model=it["model"],
                failed=it["failed"],
                calls=it["calls"],
                cost_usd=it["cost_usd"],
            )


def _models_that_buy_little(report: Report) -> Iterator[Advice]:
    """Those that take much of the money and are shown to buy less skill with it than half of the models do."""
    known = [it for it in report["by_model"] if it["gain_per_usd"] is not None]
    if len(known) < 3:
        return
    usual = median(it["gain_per_usd"] for it in known)
    for it in known:
        high, share = it["gain_per_usd_high"], it["share_of_cost"]
        if high is not None and high < usual and (share or 0) >= _DEAR_SHARE:
            yield _advice(
                "dear_model",
                f"{it['model']} takes {share:.0%} of the money and buys {it['gain_per_usd']:.3g} Brier points per "
                f"dollar, at most {high:.3g}; half of the models buy more than {usual:.3g}. A cheaper model of its "
                "provider, or a lower max_output_tokens, would buy more.",
                model=it["model"],
                gain_per_usd=it["gain_per_usd"],
                gain_per_usd_high=high,
                median_gain_per_usd=usual,
            )


def _markets_that_lead_nowhere(report: Report) -> Iterator[Advice]:
    total = report["periods"]["30 days"]["cost_usd"]
    idle = [
        it
        for it in report["dearest_markets"]
        if not it["trades"] and it["analyses"] >= _IDLE_ANALYSES and it["cost_usd"] >= _IDLE_MARKET_SHARE * total
    ]
    for it in idle:
        yield _advice(
            "idle_market",
            f"{it['market']} was analysed {it['analyses']} times for ${it['cost_usd']:.4f}, "
            f"{it['cost_usd'] / total:.0%} of all, and never traded. A longer cooldown, or a limit per market and day, "
            "would spare it.",
            market=it["market"],
            cost_usd=it["cost_usd"],
        )


def _money_nobody_confirmed(report: Report) -> Iterator[Advice]:
    amount, total = report["unconfirmed_usd"], report["periods"]["30 days"]["cost_usd"]
    if amount and amount >= _SHORT_OF_LIMIT * total:
        yield _advice(
            "unconfirmed",
            f"${amount:.4f} of the last 30 days were held by runs that died and count as spent though perhaps nobody "
            "billed them. See why runs die; the providers' own bills tell what was owed.",
            unconfirmed_usd=amount,
            cost_usd=total,
        )


RULES: tuple[Callable[[Report], Iterator[Advice]], ...] = (
    _limits_come_too_early,
    _models_that_fail,
    _models_that_buy_little,
    _markets_that_lead_nowhere,
    _money_nobody_confirmed,
)


def _advice(kind: str, text: str, **evidence: Any) -> Advice:  # noqa: ANN401 - JSON values
    return {"kind": kind, "text": text, "evidence": evidence}
