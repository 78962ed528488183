"""From a plan and its answers to what the members say together: the same for production, replay and backtest."""

from collections.abc import Sequence

from ensemble_pipeline.domain import Forecast, Strategy
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.engine import Consensus, EnsembleEngine, Question
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.settings import Policy


def engine_of(policy: Policy, context: BatchContext) -> EnsembleEngine:
    """The engine that pools under this policy and context."""
    return EnsembleEngine(policy.ensemble, context.ranking, context.calibration, policy.gates.min_edge_high)


def question_of(plan: Plan, consulted: Sequence[str] = ()) -> Question:
    """What the members of a plan were asked, as far as pooling needs it; `consulted` names all who were."""
    return Question(
        category=plan.snapshot.market.category,
        price=plan.snapshot.quote.mid,
        asked=tuple(member.name for member in plan.members),
        propensity=plan.propensity,
        order=tuple(member.name for member in (*plan.cascade_order, *plan.explored)),
        consulted=tuple(consulted),
        uncounted=plan.uncounted,
        worst_case_micro_usd=plan.standing.worst_case_micro_usd,
        stake_micro_usd=plan.trade_value_micro_usd,
    )


def opinion_on(
    engine: EnsembleEngine,
    plan: Plan,
    answers: Sequence[Forecast],
    strategy: Strategy | None = None,
    consulted: Sequence[str] = (),
) -> Consensus | None:
    """The consensus on one plan, by its own strategy unless another is named; ``None`` where nobody answered.

    `consulted` names everybody who was asked, stand-ins and those that failed included.
    """
    if all(answer.model_id in plan.uncounted for answer in answers):
        return None
    return engine.weighted_consensus(question_of(plan, consulted), answers, strategy or plan.strategy)
