"""What an outcome of a call says of its provider and of its model."""

import pytest

from ensemble_pipeline.domain import ModelReply
from ensemble_pipeline.ensemble.breakers import report_of
from ensemble_pipeline.errors import (
    BadReplyError,
    CredentialsError,
    CutShortError,
    FormatRefusedError,
    ModelGoneError,
    OutOfCreditError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ensemble_pipeline.store.breakers import Ask, Outcome

ASK = Ask("xai", "a", 1)


@pytest.mark.parametrize(
    ("outcome", "of_provider", "of_model"),
    [
        (None, "none", "none"),
        (RateLimitedError("slow down", http_status=429), "none", "slow_down"),
        (FormatRefusedError("another form", http_status=400), "success", "none"),
        (ModelGoneError("gone", http_status=404), "none", "shut"),
        (CredentialsError("not for this key", http_status=403), "none", "shut"),
        (CredentialsError("wrong key", http_status=401), "shut", "none"),
        (OutOfCreditError("top up", http_status=402), "shut", "none"),
        (ProviderUnavailableError("down", http_status=503), "failure", "failure"),
        (ProviderTimeoutError("no reply"), "failure", "failure"),
        (CutShortError("no reply in what was left"), "cut_short", "cut_short"),
        (BadReplyError("HTML", http_status=200), "failure", "failure"),
        # one request that is refused says nothing about the other models, and one that was never sent about nobody
        (ProviderError("this prompt is refused", http_status=400), "none", "failure"),
        (ProviderError("it searches by itself"), "none", "none"),
    ],
)
def test_outcome_concerns_whom_it_is_about(
    outcome: ModelReply | ProviderError | None, of_provider: Outcome, of_model: Outcome
) -> None:
    told = report_of(ASK, None, outcome)
    assert (told.of_provider, told.of_model) == (of_provider, of_model)
