"""What every provider client offers and speaks of; the dialects live in one module each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ensemble_pipeline.domain import AnswerFormat, CallStatus, Source, Usage
from ensemble_pipeline.settings import MemberSettings


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question as a model gets it; `prompt_hash` is the SHA-256 of its template, in hex."""

    role: str
    version: int
    prompt_hash: str
    system: str
    user: str


@dataclass(frozen=True, slots=True)
class Way:
    """How a question is put: the form its answer is asked for in, and whether the model may search the web for it."""

    answer_format: AnswerFormat = AnswerFormat.JSON_SCHEMA
    has_search: bool = False


@dataclass(frozen=True, slots=True)
class RawReply:
    """One billed reply before anyone read its text.

    `status` is provisional: ``ANSWERED`` says that the model finished, not that its text can be read;
    ``REFUSED_BY_MODEL`` and ``UNREADABLE`` are final and come with a `problem`. `response_model` is the model that
    answered, which may be another than the one asked. `usage` is ``None`` where none came that can be read.
    `reported_cost_micro_usd` is the provider's own figure, rounded up, or ``None``; `unusable_report` what it said
    where that is no amount of money. `sources` are all the pages that it was told of, as they came.
    """

    text: str
    response_model: str
    usage: Usage | None
    reported_cost_micro_usd: int | None
    latency_ms: int
    status: CallStatus
    problem: str | None = None
    unusable_report: str | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    """The models a provider says it serves, and the announced last day (YYYY-MM-DD) of those that have one."""

    latency_ms: int
    models: tuple[str, ...]
    shutdown_dates: Mapping[str, str] = field(default_factory=dict)


class ProviderClient(Protocol):
    """One provider, in one dialect. Every method raises the ``ProviderError`` tree."""

    async def ask(self, member: MemberSettings, prompt: Prompt, way: Way) -> RawReply:
        """Exactly one HTTP attempt at an answer of at most the member's `max_output_tokens`, reasoning included.

        Below ``json_schema`` the schema stands in the prompt already.

        Raises:
            UnknownPriceError: the provider has to be told a price that nobody knows; nothing was sent.
        """
        ...

    async def list_models(self) -> ModelCatalogue:
        """The models on offer; costs nothing."""
        ...

    async def aclose(self) -> None:
        """Release the connections."""
        ...
