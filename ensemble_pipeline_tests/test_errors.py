"""The tree at the top of ``errors`` is the one that holds, and each leaf says who must act."""

import inspect
import re

import pytest

from ensemble_pipeline import errors
from ensemble_pipeline.errors import BudgetRefusedError, EnsembleError, ProviderError

CLASSES = [it for _, it in inspect.getmembers(errors, inspect.isclass) if issubclass(it, EnsembleError)]


def test_tree_in_the_docstring_is_the_hierarchy() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        drawn[found[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {it.__name__: it.__bases__[0].__name__ for it in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_when_it_is_raised(kind: type[EnsembleError]) -> None:
    assert inspect.getdoc(kind) != inspect.getdoc(kind.__bases__[0])


@pytest.mark.parametrize(
    ("kind", "is_retryable"),
    [
        ("ProviderError", False),
        ("ProviderUnavailableError", True),
        ("ProviderTimeoutError", True),
        ("RateLimitedError", True),
        ("BadReplyError", True),
        ("OutOfCreditError", False),
        ("CredentialsError", False),
        ("ModelGoneError", False),
        ("ContentRefusedError", False),
        ("FormatRefusedError", True),
    ],
)
def test_provider_errors_say_whether_asking_again_can_help(kind: str, *, is_retryable: bool) -> None:
    error: ProviderError = getattr(errors, kind)("no")
    assert error.is_retryable is is_retryable
    assert (error.http_status, error.retry_after_s, error.may_be_billed) == (None, None, False)


def test_what_a_provider_says_of_one_failure_goes_before_its_kind() -> None:
    assert not errors.RateLimitedError("no", is_retryable=False).is_retryable
    assert errors.RateLimitedError("no").is_retryable


def test_budget_refusal_names_its_scope() -> None:
    assert BudgetRefusedError("day", "no").scope == "day"
