"""The one mapping from what can go wrong over HTTP to the ``ProviderError`` tree.

A message names the provider, the status, a short cleaned excerpt of what it said, and what to do. It holds no key,
no header and no request body: keys are removed from excerpts too, because some providers echo them.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx

from ensemble_pipeline.errors import (
    BadReplyError,
    ContentRefusedError,
    CredentialsError,
    FormatRefusedError,
    ModelGoneError,
    OutOfCreditError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ensemble_pipeline.providers.endpoint import Endpoint
from ensemble_pipeline.providers.error_bodies import Said, said_in
from ensemble_pipeline.providers.texts import one_line

EXCERPT_LENGTH = 200
LONGEST_WAIT_S = 86_400.0

_CREDIT_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_usage_limit_exceeded",
        "billing_error",
        "enforced_spend_limit_reached",
    }
)
# some providers say it in words only, Anthropic with 400 and xAI with 403
_CREDIT_WORDS = re.compile(
    r"credit balance is too low|any credits|used all available credits|spending limit", re.IGNORECASE
)
_CONTENT_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked"})
# xAI and OpenRouter say it with 403, which else means a key, Anthropic with 400
_CONTENT_WORDS = re.compile(
    r"content violates|\bsafety_check_|requires moderation|\b(?:input|prompt|request|content) (?:was|has been) flagged"
    r"|content (?:filter(?:ing)?|management) policy|our safety system",
    re.IGNORECASE,
)
_KEY_WORDS = re.compile(r"\bapi[ _-]?key\b", re.IGNORECASE)
_MODEL_WORDS = re.compile(r"\bmodels?\b|no endpoints found", re.IGNORECASE)
# from the first "model" on alone, whatever number of them a message holds
_BAD_MODEL_WORDS = re.compile(r"not a valid model|\A(?s:(?>.*?\bmodel\b).*\b(?:not found|not exist))", re.IGNORECASE)
# "JSON mode" is what OpenAI calls json_object; llama.cpp and vLLM make a grammar of a schema
_FORMAT_WORDS = re.compile(
    r"response[_ ]?format|json[_ ]?schema|json[_ ]?object|json mode|structured[_ -]?outputs?|\bgrammar"
    r"|output[_ ](?:config|format)|\btext\.format\b",
    re.IGNORECASE,
)
# OpenRouter, where no host of the model takes everything that was asked for
_PARAMETER_WORDS = re.compile(r"no endpoints found that (?:can handle|support) the requested parameters", re.IGNORECASE)
# somebody gave up waiting, or the way to the provider broke, while it may have gone on answering
_GAVE_UP = frozenset({408, 499, 504, *range(520, 525)})


def error_from_exception(error: httpx.HTTPError | TimeoutError, endpoint: Endpoint) -> ProviderError:
    """The error for an exchange that ended without a complete reply."""
    who, where = endpoint.provider, endpoint.shown_url
    setting = f"ENSEMBLE_PROVIDERS__{who.upper()}"
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return ProviderUnavailableError(
            f"{who} cannot be reached at {where} ({type(error).__name__}). Check that the server runs and the network "
            f"lets you through, or set {setting}__BASE_URL."
        )
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return ProviderTimeoutError(
            f"{who} gave no complete reply within {endpoint.timeout_s:g} s at {where}. If that happens often, raise "
            f"{setting}__TIMEOUT_S or choose a faster model.",
            may_be_billed=True,
        )
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.ProxyError)):
        return ProviderUnavailableError(
            f"{who} cannot be reached at {where} ({type(error).__name__}). Check {setting}__BASE_URL and the proxy."
        )
    if isinstance(error, httpx.DecodingError):
        return BadReplyError(f"{who} sent a reply at {where} that cannot be decompressed.", may_be_billed=True)
    return ProviderUnavailableError(
        f"The connection to {who} at {where} broke ({type(error).__name__}); asking again may help.", may_be_billed=True
    )


def error_from_response(response: httpx.Response, endpoint: Endpoint) -> ProviderError:
    """The error for a reply whose status is not 2xx."""
    return error_from_status(response.status_code, said_in(response.text), response.headers, endpoint)


def error_from_status(status: int, said: Said, headers: Mapping[str, str], endpoint: Endpoint) -> ProviderError:
    """The error for `status` with what the body said; headers are read for when, and whether, to ask again."""
    kind, advice = _classify(status, said, endpoint)
    excerpt = excerpt_of(said.shown, endpoint) or "no explanation"
    may_wait = issubclass(kind, (RateLimitedError, ProviderUnavailableError))
    # OpenAI says so where the same request would fail the same way; one for another form is not the same
    is_hopeless = headers.get("x-should-retry", "").strip().lower() == "false" and kind is not FormatRefusedError
    return kind(
        f"{endpoint.provider} answered {status}: {excerpt} | {advice}",
        http_status=status,
        retry_after_s=retry_after_s(headers) if may_wait else None,
        may_be_billed=_may_be_billed(status, said),
        is_retryable=False if is_hopeless else None,
    )


def bad_reply(endpoint: Endpoint, what: str, status: int = 200) -> BadReplyError:
    """The error for a reply that is not what the wire format promises; `what` must hold no text of the provider."""
    return BadReplyError(f"{endpoint.provider} answered {status}, but {what}.", http_status=status, may_be_billed=True)


def excerpt_of(text: str, endpoint: Endpoint) -> str:
    """At most 200 characters of `text` on one line, without control characters and keys."""
    # cleaned before keys are looked for, so that no control character can hide one; bounded so that it stays cheap
    clean = one_line(text[: 20 * EXCERPT_LENGTH], 20 * EXCERPT_LENGTH)
    return one_line(endpoint.without_key(clean), EXCERPT_LENGTH)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or a date); ``None`` if not said.

    In [0, 86,400]: what is below or beyond is no waiting time, such as a moment in seconds since 1970. A date that is
    over says 0.
    """
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        # not so for NaN
        if 0 <= seconds <= LONGEST_WAIT_S:
            return seconds
    try:
        # the reply's own date is the far side's clock, which is the one its waiting time refers to
        wait = parsedate_to_datetime(headers.get("retry-after", "")) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(wait.total_seconds(), 0.0) if wait.total_seconds() <= LONGEST_WAIT_S else None


def _may_be_billed(status: int, said: Said) -> bool:
    """Whether an answer may have been made, and billed, behind this error.

    Below 500 the request was refused; from 500 on nothing is owed only where the provider itself says, in its own
    error object, that there is no answer. A timeout proves nothing, whoever tells it.
    """
    if status in _GAVE_UP or any("timeout" in code.lower() for code in said.codes):
        return True
    return status >= 500 and not said.is_own


def _classify(status: int, said: Said, endpoint: Endpoint) -> tuple[type[ProviderError], str]:
    if _is_out_of_credit(status, said):
        return OutOfCreditError, "Top up the account or raise its spending limit; asking again cannot help."
    if status == 429:
        return RateLimitedError, "Asking again later can help."
    if _is_content_refused(status, said):
        return ContentRefusedError, "It declines this question alone; asking it again as it is cannot help."
    if status in (401, 403) or (status == 400 and _KEY_WORDS.search(said.words)):
        return CredentialsError, _key_advice(endpoint)
    return _classify_request(status, said, endpoint)


def _classify_request(status: int, said: Said, endpoint: Endpoint) -> tuple[type[ProviderError], str]:
    """The error where it is not about who asks, or how often."""
    if _is_format_refused(status, said):
        return FormatRefusedError, "A plainer form of the answer is asked for next, where there is one."
    if _is_model_gone(status, said):
        return ModelGoneError, _gone_advice(endpoint)
    if status >= 500 or status == 408:
        return ProviderUnavailableError, "Asking again later can help."
    return ProviderError, _refusal_advice(status, endpoint)


def _is_content_refused(status: int, said: Said) -> bool:
    if said.codes & _CONTENT_CODES:
        return True
    return status in (400, 403, 422) and _CONTENT_WORDS.search(said.words) is not None


def _is_format_refused(status: int, said: Said) -> bool:
    if status in (400, 422):
        return _FORMAT_WORDS.search(said.words) is not None
    return status == 404 and _PARAMETER_WORDS.search(said.words) is not None


def _is_model_gone(status: int, said: Said) -> bool:
    if "model_not_found" in said.codes:
        return True
    if status == 404:
        # a web server without such a path says 404 too, but has no message that speaks of a model
        return _MODEL_WORDS.search(said.words) is not None
    return status == 400 and _BAD_MODEL_WORDS.search(said.words) is not None


def _gone_advice(endpoint: Endpoint) -> str:
    if endpoint.provider == "openrouter":
        return (
            "No host serves this model within the prices that are reckoned with, and with a JSON schema; raise "
            "`input_usd_per_mtok` and `output_usd_per_mtok` of the member, or name another model, in ENSEMBLE_MEMBERS."
        )
    return "The provider does not serve this model; name another in ENSEMBLE_MEMBERS."


def _refusal_advice(status: int, endpoint: Endpoint) -> str:
    if status == 404 or 300 <= status < 400:
        setting = f"ENSEMBLE_PROVIDERS__{endpoint.provider.upper()}__BASE_URL"
        return f"Nothing is served at {endpoint.shown_url}; correct {setting}."
    return "The provider refuses this request; asking again as it is cannot help."


def _is_out_of_credit(status: int, said: Said) -> bool:
    if (
        status == 402
        or said.codes & _CREDIT_CODES
        or any(code.endswith("_spend_limit_exceeded") for code in said.codes)
    ):
        return True
    return status in (400, 403, 429) and _CREDIT_WORDS.search(said.words) is not None


def _key_advice(endpoint: Endpoint) -> str:
    if endpoint.api_key_env is None:
        return f"Name the variable that holds its key in ENSEMBLE_PROVIDERS__{endpoint.provider.upper()}__API_KEY_ENV."
    return f"Set {endpoint.api_key_env} to a key that is valid and has permission."
