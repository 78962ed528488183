"""Earlier answers given again in an emergency, once they are heard: whose they are, and whether the price still stands.

Pure. Belongs here: what concluding asks of them. Does not: whether they may be given (cache.py), whose are (reuse.py).
"""

from collections.abc import Set

from ensemble_pipeline.domain import GateVerdict, Quote, Reason
from ensemble_pipeline.ensemble.cache import price_distance
from ensemble_pipeline.ensemble.engine import Consensus
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.settings import CacheSettings


def heard_late(plan: Plan, consensus: Consensus) -> frozenset[str]:
    """Who was heard with an earlier answer by the bounds of an emergency."""
    late = plan.reuse.emergency | frozenset(plan.standing.heard_in_emergency)
    return late & {member.model_id for member in consensus.answered}


def price_stands(plan: Plan, late: Set[str], quote: Quote, options: CacheSettings) -> GateVerdict:
    """Whether the price is still about the one at which the answers of those in `late` were given.

    What it had moved when the market was planned and what it has moved since are added up, as if both went the same
    way: an answer is not to trade on a move that it does not know of. Nor does one whose move is not known: a run gave
    it, died, and is taken up in a mode that gives none. The book of `quote` has two sides.
    """
    given = {**plan.standing.emergency, **plan.reuse.given}
    before = max((given[name].price_distance or 0.0 for name in late), default=0.0) if late <= given.keys() else None
    since = price_distance(plan.snapshot.quote.mid, quote.mid)
    stands = before is not None and since is not None and before + since < options.max_price_move_logit
    return GateVerdict(
        Reason.PRICE_MOVED,
        stands,
        {
            "earlier_answers": len(late),
            "moved_before_logit": before,
            "moved_since_logit": since,
            "max_price_move_logit": options.max_price_move_logit,
        },
    )
