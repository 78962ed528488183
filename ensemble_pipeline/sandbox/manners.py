"""How a provider's server deviates from the rest: forms of answers it refuses or ignores, and dates of pages.

Belongs here: lasting peculiarities. Does not: faults, which pass (``faults``).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from ensemble_pipeline.sandbox.asking import Completion, Question, Refusal, RefusalKind

Dates = Literal["stated", "missing", "later"]
_FORMS = frozenset({"json_schema", "json_object"})


@dataclass(frozen=True, slots=True)
class Manners:
    """Forms of JSON that a server answers with an error, or takes and does not keep to; how it dates pages."""

    refuses: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    dates: Dates = "stated"

    def take(self, question: Question) -> Question | Refusal:
        """The question as the server understands it, or its refusal."""
        form = question.answer_format
        if form in self.refuses:
            taken = [f"'{it}'" for it in (*sorted(_FORMS - self.refuses), "text")]
            return Refusal(RefusalKind.BAD_REQUEST, f"'response_format.type' must be {' or '.join(taken)}")
        if form in self.ignores:
            return replace(question, answer_format=None, wants_json=question.is_told_schema)
        return question

    def date(self, completion: Completion, at: datetime) -> Completion:
        """The completion with the first of its pages dated as the server does."""
        if self.dates == "stated" or not completion.pages:
            return completion
        later = at.date() + timedelta(days=1) if self.dates == "later" else None
        first, *others = completion.pages
        return replace(completion, pages=(replace(first, published_on=later), *others))


def manners_of(asked: Any) -> Manners:  # noqa: ANN401 - JSON as it came
    """The manners that a request names.

    Raises:
        ValueError: it names a form or a way of dating that there is not.
        TypeError: it is no object, or its forms are no list.
    """
    if not isinstance(asked, dict):
        raise TypeError("no object")
    refuses, ignores = (frozenset(asked.get(name, ())) for name in ("refuses", "ignores"))
    if unknown := (refuses | ignores) - _FORMS:
        raise ValueError(f"no form {sorted(unknown)}")
    dates = asked.get("dates", "stated")
    if dates not in get_args(Dates):
        raise ValueError(f"no dates {dates!r}")
    return Manners(refuses, ignores, dates)
