"""`ensemble explain`: the chain behind a decision, as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from ensemble_pipeline.domain import MICRO_PER_USD, AnswerFormat
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.pipeline.worlds import current_database
from ensemble_pipeline.providers.texts import one_line, printable
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.answer_cache import EMERGENCY
from ensemble_pipeline.store.migrate import require_migrated

_WIDTH = 100


def read_explanation(decision_id: int) -> dict[str, Any]:
    """The chain behind a decision of the instance last started here, or of the database that is named.

    Raises:
        DecisionNotFoundError: there is no such decision.
        DatabaseError: the database lacks tables that this code reads.
    """
    with current_database(load_settings()) as database:
        require_migrated(database)
        with database.connection() as connection:
            return explain(connection, decision_id)


def show_explanation(it: Mapping[str, Any]) -> str:
    """The chain as text, from the market to what came of it."""
    return "\n".join(map(printable, _lines(it)))


def _lines(it: Mapping[str, Any]) -> Iterator[str]:
    market, context = it["market"].get("market", {}), it["context"]
    quote = it["market"].get("quote", {})
    yield f"decision {it['decision_id']}: {it['decision']}, decided {it['decided_at']}"
    yield f"  {it['reasoning']}"
    yield f"market {it['market_id']}, snapshot {it['market']['snapshot_id']}"
    yield f"  {one_line(market.get('question', ''), _WIDTH)}"
    yield (
        f"  bid {quote.get('yes_bid')} ask {quote.get('yes_ask')} last {quote.get('last_price')} volume "
        f"{quote.get('volume')}, closes {market.get('closes_at')}"
    )
    if context is None:
        yield "context not recorded: the decision is older than the keeping of contexts and inputs"
    else:
        yield _context_line(context)
    if (mode := (it["sizing"]["filled_on"] or {}).get("mode")) is not None:
        yield f"  by the time its order was filled the mode was {mode}"
    yield "answers"
    for answer in it["answers"]:
        yield from _answer_lines(answer, is_complete=it["is_complete"])
    yield from _trust_lines(it)
    yield "gates"
    for gate in it["gates"]:
        numbers = ", ".join(f"{name} {_short(value)}" for name, value in gate["numbers"].items())
        yield f"  {'passed' if gate['is_passed'] else 'REFUSED':<8}{gate['gate']:<18}{numbers}"
    sizing = it["sizing"]
    if sizing["contracts"]:
        yield (
            f"order {sizing['contracts']} contracts at {sizing['limit_price']}: stake ${sizing['stake_usd']:.4f}, fee "
            f"${sizing['fee_usd']:.4f}, edge {sizing['edge']:.4f} a contract"
        )
    yield f"settings {it['settings']['hash']}"
    yield f"code {it['code']['decided_by']} decided, {it['code']['running']} runs here"
    yield from _outcome_lines(it["outcome"])


def _context_line(context: Mapping[str, Any]) -> str:
    return (
        f"context {context['planned_at']}: method {context['method']}, mode {context['operating_mode']}, spent "
        f"${context['spent_micro_usd'] / MICRO_PER_USD:.4f} today, batch {context['batch_id']}, run {context['run_id']}"
    )


def _answer_lines(answer: Mapping[str, Any], *, is_complete: bool) -> Iterator[str]:
    said = (
        "no answer"
        if answer["p_yes"] is None
        else f"P(YES) {answer['p_yes']:.4f}, confidence {answer['confidence']:.2f}"
    )
    stood_in = "stood in" if is_complete else "chance of being asked not recorded"
    asked = stood_in if answer["propensity"] is None else f"asked with chance {answer['propensity']:g}"
    yield f"  {answer['model']}: {said}, weight {answer['weight']:.4f}, {asked}"
    if (repeats := answer["repeats"]) is not None:
        where = "of the same market" if repeats["kind"] == "same" else f"of {repeats['market_id']}"
        how = ""
        if repeats["cause"] == EMERGENCY:
            how = f" in an emergency, confidence {repeats['confidence']:.2f} of {repeats['confidence_before']:.2f}"
        yield (
            f"    gave forecast {repeats['forecast_id']} {where} again{how}, {repeats['age_s']:.0f} s old, price moved "
            f"{_short(repeats['price_distance'])}, decision {repeats['decision_id']}: nothing was asked or paid"
        )
    if answer["not_asked"] is not None:
        yield f"    {one_line(answer['not_asked'], 2 * _WIDTH)}"
    for attempt in answer["attempts"]:
        yield (
            f"    attempt {attempt['attempt']} {attempt['status']}: "
            f"prompt {attempt['role']} v{attempt['prompt_version']} {attempt['prompt_hash'][:12]}, "
            f"{attempt['input_tokens']}+{attempt['output_tokens']} tokens, "
            f"${attempt['cost_usd']:.6f} ({attempt['cost_source']}), {attempt['latency_ms']} ms, "
            f"answered by {attempt['response_model']}{_asked_for(attempt['answer_format'])}"
        )
        yield f"      {one_line(attempt['response'] or attempt['problem'] or '', _WIDTH)}"
        for source in attempt["sources"]:
            dated = source["stated_date"] or "no date"
            yield f"      found {one_line(source['title'], _WIDTH) or 'a page'} ({dated}): {source['url']}"
    for attempt in answer["cut_off"]:
        yield (
            f"    attempt cut off: reserved {attempt['reserved_at']} by a run that died, ${attempt['cost_usd']:.6f} "
            "counts as spent; it may have been billed, so nobody asked again"
        )


def _asked_for(answer_format: str | None) -> str:
    # the strictest form, and what was asked before forms were kept, go without saying
    return "" if answer_format in (None, AnswerFormat.JSON_SCHEMA) else f", asked for {answer_format}"


def _trust_lines(it: Mapping[str, Any]) -> Iterator[str]:
    ranking, calibration, pool = it["ranking"], it["calibration"], it["pool"]
    if ranking is not None:
        yield f"ranking {ranking['ranking_id']} as of {ranking['as_of']}, partition {ranking['partition']}"
        for row in ranking["models"]:
            yield (
                f"  {row['rank']:>2}. {row['model_id']}: skill {row['skill']:+.4f} ± {_short(row['standard_error'])}, "
                f"{row['sample_size']} forecasts, {row['effective_sample_size']:.1f} effective events"
            )
    for window in it["windows"]:
        name = f"window {window['window_hours']} h {window['model_id']}"
        yield f"  {name}: {window['n']} scored, Brier {window['brier']:.4f}"
    if calibration is not None:
        yield (
            f"calibration {calibration['calibration_id']} as of {calibration['as_of']}: "
            f"slope {calibration['slope']:.4f} from {calibration['n']} decisions on "
            f"{calibration['effective_n']:.0f} events, weight against the price {calibration['market_weight']:.4f}"
        )
    if pool is not None:
        yield "pool"
        for name, step in pool["steps"].items():
            yield f"  {name:<14}{step['p_yes']:.6f}  log-odds {step['log_odds']:+.4f}"
        yield f"  disagreement {pool['disagreement_level']:.4f}, uncertainty {pool['uncertainty']:.4f}"


def _outcome_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    settled, position = outcome["settlement"], outcome["position"]
    if settled is None or settled["is_withdrawn"]:
        yield "outcome not settled yet"
    else:
        yield f"outcome {_word(settled['outcome'])}, resolved {settled['resolved_at']}"
    if position is not None:
        how = position["exit_reason"] or ("settled" if position["closed_at"] else "open")
        flow = (position["cash_flow_micro_usd"] or 0) / MICRO_PER_USD
        yield f"position {position['position_id']} {how}: cash flow ${flow:+.4f}"


def _word(outcome: int | None) -> str:
    return "void" if outcome is None else "YES" if outcome else "NO"


def _short(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
