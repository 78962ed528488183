"""What decisions rest on, as values: read once for a batch, and read once more for each market.

Belongs here: records that are kept with each decision, so that it can be made again from them alone. Does not: where
they are read (decide.py), what is made of them (plan.py, conclude.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ensemble_pipeline.domain import EarlierAnswer, Mode, Quote, Ranking
from ensemble_pipeline.settings import Policy
from ensemble_pipeline.store.budget import BudgetRefusal, DaySpend
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.efficiency import Efficiency
from ensemble_pipeline.store.health import ModelHealth
from ensemble_pipeline.store.portfolio import Exposure
from ensemble_pipeline.store.rankings import ModelStrength


class Method(StrEnum):
    """Who decides: one model, two that must agree, or the ensemble with its strategies."""

    SINGLE = "single"
    AGREEMENT = "agreement"
    ADVANCED = "advanced"

    @classmethod
    def allowed(cls, policy: Policy, wanted: "Method | None" = None) -> "Method":
        """The method to use: `wanted`, or the next simpler one whose switch is on; the most advanced by default."""
        if not policy.multi_model_ensemble or wanted is cls.SINGLE:
            return cls.SINGLE
        if policy.methods.advanced and wanted is not cls.AGREEMENT:
            return cls.ADVANCED
        return cls.AGREEMENT if policy.methods.agreement else cls.SINGLE


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What all decisions of a batch rest on, read once so that they rest on the same.

    `degraded` names the models whose accuracy is shown to have got worse, `disputed` those that billed what nobody can
    believe and are closed. `efficiency` says what a dollar buys from whom; ``None`` where nobody looked.
    """

    context_id: int
    now: datetime
    batch_id: int
    run_id: str
    method: Method
    ranking: Ranking
    strengths: Sequence[ModelStrength]
    degraded: frozenset[str]
    calibration: Calibration
    health: Mapping[str, ModelHealth]
    operating_mode: str
    spend: DaySpend
    settings_hash: str
    code_version: str
    disputed: frozenset[str] = frozenset()
    efficiency: Efficiency | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What was known of one market when it was planned: earlier analyses, cash, and what a call of each model may cost.

    Money in micro-dollars. A model whose price nobody knows is absent from `worst_case_micro_usd`.
    `committed_micro_usd` is what was spent and held on this market before, that day, `earlier` the answers that
    models gave before, with what speaks against giving them again, `heard` the models that answered about this very
    snapshot before a run was cut off: they are paid for, and cost nothing more. `is_held`: there is an open position.
    `emergency` is as `earlier`, by the wider bounds that hold in an emergency for models that cannot be asked;
    `heard_in_emergency` names those of `heard` that said an earlier answer again by these.
    """

    analyses_today: int
    last_analysis_at: datetime | None
    cash_micro_usd: int
    worst_case_micro_usd: Mapping[str, int]
    committed_micro_usd: int = 0
    earlier: Mapping[str, EarlierAnswer] = field(default_factory=dict)
    heard: tuple[str, ...] = ()
    is_held: bool = False
    emergency: Mapping[str, EarlierAnswer] = field(default_factory=dict)
    heard_in_emergency: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filling:
    """When an order would be filled, the book at that moment, and the exposure before it.

    `refused` holds the calls that the ledger did not let leave. `mode` is the operating mode in force by then, where it
    was more careful than the one that the batch was planned in; ``None`` where it was not.
    """

    at: datetime
    quote: Quote
    exposure: Exposure
    refused: tuple[BudgetRefusal, ...] = ()
    mode: Mode | None = None
