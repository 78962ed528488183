"""What reached the sandbox: requests by provider, model and path, and completions by the market they are about.

Belongs here: counts that a test can hold against what its client says it did. Does not: what is answered.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_pipeline.sandbox.faults import Call, Fault


@dataclass(slots=True)
class _Billed:
    """`billed` completions were made and cost something; `delivered` of them left whole and as they were made."""

    billed: int = 0
    delivered: int = 0


class Calls:
    """Counts since the start, or since they were last cleared."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str | None, str]] = Counter()
        self._faults: dict[tuple[str, str | None, str], Counter[str]] = {}
        self._completions: dict[tuple[str, str, str, datetime], _Billed] = {}

    def note(self, call: Call, fault: Fault | None) -> None:
        """Count a request, and the fault that strikes it."""
        key = (call.target, call.model, call.path)
        self._requests[key] += 1
        if fault is not None:
            self._faults.setdefault(key, Counter())[fault.kind] += 1

    def bill(self, provider: str, model: str, ticker: str, at: datetime, *, is_delivered: bool) -> None:
        """Count a completion that `model` made about a market at the world's time `at`."""
        entry = self._completions.setdefault((provider, model, ticker, at), _Billed())
        entry.billed += 1
        entry.delivered += is_delivered

    def clear(self) -> None:
        """Begin anew."""
        self._requests.clear()
        self._faults.clear()
        self._completions.clear()

    def as_json(self) -> dict[str, Any]:
        """All counts. A completion that was billed and not delivered has to be asked for again, and is billed again."""
        return {
            "requests": [
                {"target": target, "model": model, "path": path, "count": count, "faults": dict(self._faults_of(key))}
                for key, count in self._requests.items()
                for target, model, path in [key]
            ],
            "completions": [
                {
                    "provider": provider,
                    "model": model,
                    "ticker": ticker,
                    "at": at.isoformat(),
                    "billed": entry.billed,
                    "delivered": entry.delivered,
                }
                for (provider, model, ticker, at), entry in self._completions.items()
            ],
        }

    def _faults_of(self, key: tuple[str, str | None, str]) -> Counter[str]:
        return self._faults.get(key, Counter())
