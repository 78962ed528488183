"""``ProviderManager``: the one way to a model. One call is one HTTP attempt, priced and checked.

Retries, failover, budgets and the ledger live above, in ``ensemble``.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Self

from ensemble_pipeline.domain import AnswerFormat, CallStatus, FormatKey, ModelReply
from ensemble_pipeline.errors import FormatRefusedError, ProviderError, SettingsError
from ensemble_pipeline.providers.answers import TEXT_LENGTH, UnreadableAnswerError, keeps_form, read_answer
from ensemble_pipeline.providers.anthropic import AnthropicClient
from ensemble_pipeline.providers.base import ModelCatalogue, Prompt, ProviderClient, RawReply, Way
from ensemble_pipeline.providers.endpoint import Endpoint, read_key, shown_url
from ensemble_pipeline.providers.openai_chat import OpenAIChatClient
from ensemble_pipeline.providers.prices import Cost, cost_of
from ensemble_pipeline.providers.prompts import with_schema
from ensemble_pipeline.providers.searching import as_asked, has_tool
from ensemble_pipeline.providers.sources import kept, problem_with
from ensemble_pipeline.settings import MemberSettings, ProviderSettings, Settings


class ProviderManager:
    """All providers of one instance. Lives within one event loop; close it, or use it as ``async with``.

    Each provider has one pool of connections and `max_concurrency` turns at once; the wait for one's turn counts
    towards neither the time limit nor the latency.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        formats: Mapping[FormatKey, AnswerFormat] | None = None,
        as_of: datetime | None = None,
    ) -> None:
        """Prepare the providers of `settings`, with keys from `environ`; connects to nothing yet.

        `formats` names the form to ask for where it is not the strictest; it is looked at before each call.
        `as_of` is when the questions are asked, in a world that knows a future: nothing dated later may be used then.
        """
        self._providers = settings.providers
        self._believable_factor = settings.budget.believable_factor
        self._environ = environ
        self._formats = {} if formats is None else formats
        self._as_of = as_of
        self._turns = {name: asyncio.Semaphore(it.max_concurrency) for name, it in self._providers.items()}
        self._clients: dict[str, ProviderClient] = {}

    def turn(self, member: MemberSettings) -> AbstractAsyncContextManager[None]:
        """The wait until one more call of `member`'s provider may leave, and the place it takes while it is under way.

        What a call costs is reserved once it has its turn: what waits has cost nothing, and leaves on a later day.

        Raises:
            SettingsError: the member's provider is not among the settings.
        """
        self._settings_of(member.provider)
        return self._turns[member.provider]

    async def ask(self, member: MemberSettings, prompt: Prompt, worst_case_micro_usd: int) -> ModelReply:
        """Ask `member` once, in its turn; `worst_case_micro_usd` is what its bill is judged by.

        Returns:
            A billed reply. An unreadable answer or a refusal is one too: `answer` is then ``None`` and `problem` says
            why. Where no source knows what the reply cost, or none can be believed, `cost_micro_usd` is ``None`` and
            the caller's reservation stands for it; `anomalies` say what was odd about its cost.

        Raises:
            ProviderError: the subclass says what happened; `may_be_billed` whether something may be owed. A refused
                form is a ``FormatRefusedError`` as long as there is a plainer one.
            SettingsError: the member's provider is not among the settings, its URL is none, or it has to be told a
                price that nobody knows.
        """
        provider = self._settings_of(member.provider)
        asked = as_asked(member, provider, self._as_of)
        key = self._key_of(asked, provider)
        way = Way(self._formats.get(key, AnswerFormat.JSON_SCHEMA), key.has_search)
        client = self._client(member.provider)
        put = prompt if way.answer_format is AnswerFormat.JSON_SCHEMA else with_schema(prompt)
        try:
            raw = await client.ask(asked, put, way)
        except FormatRefusedError as error:
            if way.answer_format.plainer is None:
                raise _refused_altogether(error) from error
            error.answer_format = way.answer_format
            raise
        return _to_reply(raw, cost_of(raw, member, worst_case_micro_usd, self._believable_factor), way, self._as_of)

    def format_key(self, member: MemberSettings) -> FormatKey:
        """What the form of `member`'s answers is remembered for.

        Raises:
            ProviderError: the member is not asked at all.
            SettingsError: its provider is not among the settings.
        """
        provider = self._settings_of(member.provider)
        return self._key_of(as_asked(member, provider, self._as_of), provider)

    def missing_key(self, member: MemberSettings) -> str | None:
        """The environment variable that has to hold a key before `member` can be asked, or ``None`` if all is set."""
        variable = self._settings_of(member.provider).api_key_env
        return variable if variable is not None and not self._environ.get(variable, "").strip() else None

    async def probe(self, provider: str) -> ModelCatalogue:
        """Whether `provider` answers, how fast and with which models. Costs nothing.

        Raises:
            ProviderError: it does not answer, or not usefully; the subclass says what happened.
            SettingsError: no such provider.
        """
        client = self._client(provider)
        async with self._turns[provider]:
            return await client.list_models()

    async def aclose(self) -> None:
        """Release all connections; the manager can be used again."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _key_of(self, asked: MemberSettings, provider: ProviderSettings) -> FormatKey:
        return FormatKey(asked.provider, shown_url(provider.base_url), asked.model, has_tool(asked, provider))

    def _settings_of(self, provider: str) -> ProviderSettings:
        try:
            return self._providers[provider]
        except KeyError:
            known = ", ".join(sorted(self._providers))
            raise SettingsError(f"unknown provider {provider!r}; known: {known}") from None

    def _client(self, provider: str) -> ProviderClient:
        if provider not in self._clients:
            self._clients[provider] = self._connect(provider)
        return self._clients[provider]

    def _connect(self, provider: str) -> ProviderClient:
        settings = self._settings_of(provider)
        key = None if settings.api_key_env is None else read_key(provider, settings.api_key_env, self._environ)
        endpoint = Endpoint(provider, settings.base_url, settings.timeout_s, settings.api_key_env, key)
        if settings.dialect == "anthropic_messages":
            return AnthropicClient(endpoint, settings.max_concurrency)
        return OpenAIChatClient(endpoint, settings.max_concurrency)


def _refused_altogether(error: FormatRefusedError) -> ProviderError:
    return ProviderError(
        f"{error} There is none: correct the server, or name another model in ENSEMBLE_MEMBERS.",
        http_status=error.http_status,
        may_be_billed=error.may_be_billed,
    )


def _to_reply(raw: RawReply, cost: Cost, way: Way, as_of: datetime | None) -> ModelReply:
    status, answer, problem, is_ignored = raw.status, None, raw.problem, False
    if status is CallStatus.ANSWERED:
        try:
            answer = read_answer(raw.text)
        except UnreadableAnswerError as error:
            status, problem = CallStatus.UNREADABLE, str(error)
            is_ignored = not keeps_form(raw.text, way.answer_format)
    if answer is not None and as_of is not None and (foreknowledge := problem_with(raw.sources, as_of)) is not None:
        status, answer, problem = CallStatus.UNREADABLE, None, foreknowledge
    return ModelReply(
        status=status,
        response_model=raw.response_model,
        # of what is beyond all bounds a part is enough to see what came
        text=raw.text[:TEXT_LENGTH],
        usage=raw.usage,
        latency_ms=raw.latency_ms,
        cost_micro_usd=cost.micro_usd,
        cost_source=cost.source.value,
        answer=answer,
        problem=problem,
        anomalies=cost.anomalies,
        sources=kept(raw.sources),
        answer_format=way.answer_format,
        is_format_ignored=is_ignored,
    )
