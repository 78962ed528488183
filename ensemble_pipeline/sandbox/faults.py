"""Faults on request: a provider, one of its models or the venue misbehaves for some of its calls.

Belongs here: the kinds of faults, what may be asked for, and which fault strikes which call. Does not: what a kind does
to a reply (``misanswering``, ``breaking``, ``venue_breaking``), or failures that are part of a world
(``world.FailureKind``).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.sandbox.chance import uniform

VENUE = "kalshi"
PROVIDERS = ("openai", "xai", "openrouter", "local", "anthropic")


class FaultKind(StrEnum):
    """How a call goes wrong; docs/operations.md says of each what reaches the client."""

    # an error of the far side's own, in its own shape; nothing is billed
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    OUT_OF_CREDIT = "out_of_credit"
    WRONG_KEY = "wrong_key"
    # of providers alone
    RETIRED_MODEL = "retired_model"
    KEY_ECHO = "key_echo"
    FLAGGED = "flagged"

    # something between client and server, which says nothing of what the server did
    HTML = "html"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    GATEWAY_TIMEOUT = "gateway_timeout"

    # the wire itself
    STALL = "stall"
    HANG = "hang"
    SLOW_DRIP = "slow_drip"
    RESET = "reset"
    CUT_JSON = "cut_json"
    BODY_TWICE = "body_twice"
    RESPONSE_TWICE = "response_twice"

    # a provider's reply that is billed and says something else than it should
    NO_USAGE = "no_usage"
    REPLY_AGAIN = "reply_again"
    WRONG_MODEL = "wrong_model"
    REFUSAL = "refusal"
    PROSE = "prose"
    HOSTILE = "hostile"
    P_PERCENT = "p_percent"
    P_SIXTY = "p_sixty"
    P_NAN = "p_nan"
    P_ABOVE_ONE = "p_above_one"
    P_MISSING = "p_missing"

    # a venue's page that contradicts the one before, or the truth
    ROWS_TWICE = "rows_twice"
    ROWS_SKIPPED = "rows_skipped"
    PAGE_AGAIN = "page_again"
    PAGE_SKIPPED = "page_skipped"
    CURSOR_AGAIN = "cursor_again"
    ONE_SIDED = "one_sided"
    BACKWARDS = "backwards"
    WRONG_RESULT = "wrong_result"


OF_PROVIDERS = frozenset(
    {
        FaultKind.RETIRED_MODEL,
        FaultKind.KEY_ECHO,
        FaultKind.FLAGGED,
        FaultKind.NO_USAGE,
        FaultKind.REPLY_AGAIN,
        FaultKind.WRONG_MODEL,
        FaultKind.REFUSAL,
        FaultKind.PROSE,
        FaultKind.HOSTILE,
        FaultKind.P_PERCENT,
        FaultKind.P_SIXTY,
        FaultKind.P_NAN,
        FaultKind.P_ABOVE_ONE,
        FaultKind.P_MISSING,
    }
)
PAGE_KINDS = frozenset(
    {
        FaultKind.ROWS_TWICE,
        FaultKind.ROWS_SKIPPED,
        FaultKind.PAGE_AGAIN,
        FaultKind.PAGE_SKIPPED,
        FaultKind.CURSOR_AGAIN,
    }
)
OF_THE_VENUE = PAGE_KINDS | {FaultKind.ONE_SIDED, FaultKind.BACKWARDS, FaultKind.WRONG_RESULT}

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Call:
    """One request as faults tell it apart; `model` as it is named on the wire, ``None`` where it names none."""

    target: str
    path: str
    model: str | None = None
    is_completion: bool = False


class Fault(BaseModel):
    """A fault that strikes calls to `target`: a provider's name, or ``kalshi``.

    It concerns every call to the venue and every completion of a provider; only those of `model`, only those whose
    path holds `path` where these are given (a path can name a provider's list of models too). Of the calls it
    concerns it lets `after` pass, then strikes `count` of them (``None``: for ever), each with chance `share` drawn
    from `seed` and the call's number, so that the same calls are struck again the next time.

    `stall_s` is how long a ``stall`` keeps a call waiting, and the time between two bytes of a ``slow_drip``.
    `retry_after_s` is the waiting time a provider's ``rate_limited`` tells, ``None`` for none; `response_model` the
    model that answers in ``wrong_model``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    kind: FaultKind
    model: str | None = None
    path: str | None = None
    count: Annotated[int, Field(ge=1)] | None = 1
    after: Annotated[int, Field(ge=0)] = 0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    stall_s: Seconds = 1.0
    retry_after_s: Seconds | None = 1.0
    response_model: Annotated[str, Field(min_length=1)] = "stand-in-model"

    @model_validator(mode="after")
    def _must_fit_together(self) -> "Fault":
        if self.target != VENUE and self.target not in PROVIDERS:
            raise ValueError(f"target {self.target!r} is unknown; known: {', '.join((*PROVIDERS, VENUE))}")
        if self.target == VENUE and self.kind in OF_PROVIDERS:
            raise ValueError(f"kind {self.kind} is one of providers, not of the venue")
        if self.target != VENUE and self.kind in OF_THE_VENUE:
            raise ValueError(f"kind {self.kind} is one of the venue, not of providers")
        if self.target == VENUE and self.model is not None:
            raise ValueError("the venue has no models: leave `model` out")
        return self

    def concerns(self, call: Call) -> bool:
        """Whether `call` is one of those that this fault may strike."""
        if call.target != self.target or self.model not in (None, call.model):
            return False
        if self.path is not None and self.path not in call.path:
            return False
        if self.target == VENUE or call.is_completion:
            return True
        # a list of models holds no answer that could be altered
        return self.path is not None and self.kind not in OF_PROVIDERS


def read_fault(asked: object) -> Fault:
    """A fault from JSON.

    Raises:
        InputError: it cannot be one; the message names the field and what is allowed.
    """
    try:
        return Fault.model_validate(asked)
    except ValidationError as error:
        raise InputError("; ".join(_why(detail) for detail in error.errors(include_url=False))) from None


def _why(detail: Any) -> str:  # noqa: ANN401 - pydantic's own record
    path = ".".join(map(str, detail["loc"]))
    message = detail["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


@dataclass(slots=True)
class _Standing:
    """A fault that waits for calls: how many it concerned so far, and how many it struck."""

    fault: Fault
    concerned: int = 0
    struck: int = 0

    def meets(self) -> bool:
        """Count a call; whether it is one to strike."""
        self.concerned += 1
        fault = self.fault
        return self.concerned > fault.after and (
            fault.share >= 1 or uniform("fault", fault.seed, self.concerned) < fault.share
        )


class Faults:
    """The faults still to come, in the order they were asked for: of several that meet a call the first strikes."""

    def __init__(self) -> None:
        self._standing: list[_Standing] = []

    def add(self, fault: Fault) -> None:
        """Have `fault` strike from the next call on."""
        self._standing.append(_Standing(fault))

    def clear(self) -> None:
        """Forget all faults."""
        self._standing.clear()

    def take(self, call: Call) -> Fault | None:
        """The fault that strikes this call, one of its counts used up; ``None`` where all is well."""
        met = [it for it in self._standing if it.fault.concerns(call) and it.meets()]
        if not met:
            return None
        first = met[0]
        first.struck += 1
        if first.fault.count is not None and first.struck >= first.fault.count:
            self._standing.remove(first)
        return first.fault

    def as_json(self) -> list[dict[str, Any]]:
        """The faults still to come, with the calls each has concerned and struck so far."""
        return [
            {**it.fault.model_dump(mode="json"), "concerned": it.concerned, "struck": it.struck}
            for it in self._standing
        ]
