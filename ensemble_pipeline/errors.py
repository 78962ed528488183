"""Every error this package raises on purpose, sorted by who must act.

::

    EnsembleError
    ├── UserError                  the operator changes an input, a setting or the machine
    │   ├── SettingsError          a setting is missing, unknown or contradicts another
    │   │   └── UnknownPriceError  no list and no setting knows what a model costs
    │   ├── ArchiveError           an archive file lacks a column or holds an impossible value
    │   ├── PortTakenError         a port the launcher needs is in use
    │   ├── DatabaseError          the database cannot be started, reached or is of another world
    │   │   └── DatabaseLostError      it went away in the middle of work; the same work can be taken up again
    │   ├── PartitionRangeError    a range of days is empty or in the future
    │   ├── DecisionNotFoundError  no decision has the number that was named
    │   ├── ReplayError            a decision cannot be made again: what it rested on was not kept
    │   └── InputError             a row or value handed to a public function is out of range
    │       └── RefusedRowError    one row of many was left out; the rest went on
    │           ├── ForecastRangeError      a forecast is no probability
    │           ├── DuplicateScoreError     a forecast is scored already
    │           ├── UnknownMarketError      a settlement of a market nobody listed
    │           ├── SettledMarketError      a market listed as open after it settled
    │           └── EarlyResolutionError    a resolution before its question opened
    ├── VenueError                 the venue answered something unusable
    │   └── VenueUnavailableError  the venue did not answer, or asked to slow down
    ├── ProviderError              a provider's call failed; `is_retryable` says whether asking again can help
    │   ├── ProviderUnavailableError   network failure, timeout, 5xx, overloaded
    │   │   └── ProviderTimeoutError   no complete reply within the provider's `timeout_s`
    │   │       └── CutShortError      nor in what little time the decision's deadline left
    │   ├── RateLimitedError           429 "slow down"; `retry_after_s` where the provider said so
    │   ├── OutOfCreditError           the account is empty or capped: asking again cannot help
    │   ├── CredentialsError           the key is missing or wrong
    │   ├── ModelGoneError             the model does not exist (any more)
    │   ├── ContentRefusedError        the provider declines this very question, as a model may
    │   ├── FormatRefusedError         the server does not take the way the form of an answer is asked for
    │   └── BadReplyError              the reply is not what the wire format promises (HTML, cut JSON, no usage)
    └── LimitError                 the system refuses by its own rules
        ├── BudgetRefusedError     the reservation would overshoot a budget; names the scope and the numbers
        ├── BreakerOpenError       the model or its provider failed lately and is left alone
        └── DeadlineError          a decision's deadline comes before the call could leave

A message says what was wrong, where, and what to do. It never holds a key, a header or a request body.
"""


class EnsembleError(Exception):
    """Root of all errors raised on purpose by this package."""


class UserError(EnsembleError):
    """The operator has to change an input, a setting or the machine; the message says what."""


class SettingsError(UserError):
    """A setting is missing, unknown or contradicts another. Fix the named variable and start again."""


class UnknownPriceError(SettingsError):
    """What a model costs is not known, so it is not asked. Set the two prices the message names."""


class ArchiveError(UserError):
    """An archive cannot be played: names the file, the row and the column. Nothing was written."""


class PortTakenError(UserError):
    """A port the launcher needs is in use. Stop the other program or name another port."""


class DatabaseError(UserError):
    """PostgreSQL cannot be started or reached, or the database belongs to another world."""


class DatabaseLostError(DatabaseError):
    """PostgreSQL ended a connection in the middle of work. What it had confirmed stands; do the same work again."""


class InputError(UserError):
    """A value handed to a public function is out of its documented range."""


class PartitionRangeError(UserError):
    """A range of days is empty or lies in the future. Name days of the instance's history, the earlier one first."""


class DecisionNotFoundError(UserError):
    """No decision has the number that was named. `ensemble status` says how many there are."""


class ReplayError(UserError):
    """A decision cannot be made again, since what it rested on was not kept when it was recorded."""


class RefusedRowError(InputError):
    """One row of many makes no sense and was left out; it is kept with the reason under `rejected_rows`."""


class ForecastRangeError(RefusedRowError):
    """A forecast is no probability: below 0, above 1 or NaN."""


class DuplicateScoreError(RefusedRowError):
    """A forecast has its score under this resolution already."""


class UnknownMarketError(RefusedRowError):
    """A venue settled a market that was never listed."""


class SettledMarketError(RefusedRowError):
    """A venue lists a market as open whose settlement stands."""


class EarlyResolutionError(RefusedRowError):
    """A market resolved before its question opened."""


class VenueError(EnsembleError):
    """A venue answered something that is not its wire format."""


class VenueUnavailableError(VenueError):
    """A venue did not answer in time or asked to slow down; the next sensor tick asks again."""


class ProviderError(EnsembleError):
    """A model call failed. Subclasses say who must act; `is_retryable` says whether asking again can help.

    `may_be_billed` is true where the request may have reached the provider and it did not say itself that there is no
    answer (a timeout, also one that a gateway tells; a broken connection; an unusable reply; a server error that is not
    the provider's own error object): its reservation must not be released as if nothing was owed.
    """

    is_retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        may_be_billed: bool = False,
        is_retryable: bool | None = None,
    ) -> None:
        """`is_retryable`: what the provider says of this very failure; ``None`` leaves it to the kind of error."""
        super().__init__(message)
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.may_be_billed = may_be_billed
        if is_retryable is not None:
            self.is_retryable = is_retryable


class ProviderUnavailableError(ProviderError):
    """Network failure, timeout or a server error of the provider."""

    is_retryable = True


class ProviderTimeoutError(ProviderUnavailableError):
    """No complete reply came within the provider's `timeout_s`; the provider may bill it all the same."""


class CutShortError(ProviderTimeoutError):
    """The decision's deadline left the call so little time that its end shows nothing about who was asked."""


class RateLimitedError(ProviderError):
    """The provider said "slow down"; honour `retry_after_s`."""

    is_retryable = True


class OutOfCreditError(ProviderError):
    """The account is out of credit or at its spending cap. Top it up; asking again cannot help."""


class CredentialsError(ProviderError):
    """The key is missing, wrong or lacks permission. Set the environment variable the message names."""


class ModelGoneError(ProviderError):
    """The model does not exist (any more) at this provider. Name another in the settings."""


class ContentRefusedError(ProviderError):
    """The provider's rules on content decline this very question; no other question, model or key is concerned."""


class FormatRefusedError(ProviderError):
    """The server does not take the way the form of an answer is asked for; the next attempt asks in a plainer one.

    `answer_format` names the way that was refused.
    """

    is_retryable = True
    answer_format: str | None = None


class BadReplyError(ProviderError):
    """The reply is not the promised wire format: HTML, cut JSON, missing fields."""

    is_retryable = True


class LimitError(EnsembleError):
    """The system refuses by its own rules."""


class BudgetRefusedError(LimitError):
    """The worst case of a call would overshoot a budget; nothing was sent and nothing is owed."""

    def __init__(self, scope: str, message: str) -> None:
        super().__init__(message)
        self.scope = scope


class BreakerOpenError(LimitError):
    """A call is not made, since the circuit breaker of its model or provider is open; nothing is owed."""


class DeadlineError(LimitError):
    """A call is not made, since the decision's deadline comes before it could leave; nothing is owed."""
