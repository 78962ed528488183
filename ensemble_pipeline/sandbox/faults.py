"""Faults on request: a provider or the venue misbehaves for a number of calls.

Belongs here: which fault strikes which call. Does not: failures that are part of a world (``world.FailureKind``).
"""

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """How a call goes wrong. The first four use the far side's own error shape; the others break what it sends."""

    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    OUT_OF_CREDIT = "out_of_credit"
    WRONG_KEY = "wrong_key"
    HTML = "html"
    GATEWAY_TIMEOUT = "gateway_timeout"
    CUT_JSON = "cut_json"
    STALL = "stall"
    NO_USAGE = "no_usage"


@dataclass(slots=True)
class Fault:
    """A fault that strikes the next `count` calls to `target` (a provider's name, or ``kalshi``).

    `stall_s` is how long a `STALL` keeps the call waiting before it is answered as usual. A `GATEWAY_TIMEOUT` lets the
    call be answered, and puts a gateway's page in the answer's place.
    """

    target: str
    kind: FaultKind
    count: int = 1
    stall_s: float = 1.0


class Faults:
    """The faults still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Have `fault` strike from the next call on."""
        self._pending.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._pending.clear()

    def take(self, target: str) -> Fault | None:
        """The fault that strikes this call, one of its counts used up; ``None`` where all is well."""
        for fault in self._pending:
            if fault.target == target:
                fault.count -= 1
                if fault.count <= 0:
                    self._pending.remove(fault)
                return fault
        return None
