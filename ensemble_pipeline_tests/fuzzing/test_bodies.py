"""Made-up replies over real HTTP, through ``ProviderManager.ask``: a reply or an error it promises, and no other."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from starlette.requests import Request
from starlette.responses import Response

from ensemble_pipeline.domain import CallStatus, ModelReply
from ensemble_pipeline.errors import ProviderError
from ensemble_pipeline.providers.answers import REASONING_LENGTH, TEXT_LENGTH
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline_tests.fuzzing.answers import is_stated
from ensemble_pipeline_tests.fuzzing.bodies import Sent, bodies
from ensemble_pipeline_tests.providers.helpers import ENVIRON, KEY, member_of, prompt_of, settings_at
from ensemble_pipeline_tests.providers.loopback import serve

FULL = 2000
PROMPT = prompt_of()


@dataclass
class Asker:
    """A server that says what it is told to, and a manager that asks it."""

    runner: asyncio.Runner
    manager: ProviderManager
    says: list[Sent] = field(default_factory=list)

    def ask(self, provider: str, sent: Sent) -> ModelReply | ProviderError:
        """What comes of a reply; whatever is raised but the errors that are promised is a crash."""
        self.says[:] = [sent]
        member = member_of(provider)
        worst = worst_case_micro_usd(PROMPT, member)
        try:
            return self.runner.run(self.manager.ask(member, PROMPT, worst))
        except ProviderError as error:
            return error


@pytest.fixture(scope="module")
def asker() -> Iterator[Asker]:
    says: list[Sent] = []

    async def answer(_: Request) -> Response:
        return Response(says[0].body, says[0].status, media_type="application/json")

    with serve(answer) as server, asyncio.Runner() as runner:
        manager = ProviderManager(settings_at(server.url), ENVIRON)
        yield Asker(runner, manager, says)
        runner.run(manager.aclose())


def check(asker: Asker, provider: str, sent: Sent) -> None:
    found = asker.ask(provider, sent)
    if isinstance(found, ProviderError):
        assert KEY not in str(found)
        assert len(str(found)) < 700
        assert sent.status != 200 or found.may_be_billed or found.http_status != 200
        return
    assert sent.status == 200
    assert found.cost_micro_usd is None or found.cost_micro_usd >= 0
    assert len(found.text) <= TEXT_LENGTH
    assert len(found.response_model) <= 200
    assert (found.answer is None) is (found.status is not CallStatus.ANSWERED)
    if found.answer is not None:
        assert 0 <= found.answer.p_yes <= 1
        assert 0 <= found.answer.confidence <= 1
        assert len(found.answer.reasoning) <= REASONING_LENGTH
        assert is_stated(found.answer.p_yes, sent.body.decode("utf-8", "replace"))


@given(bodies("openai"))
def test_reply_in_the_chat_dialect_is_a_reply_or_an_error_that_is_promised(asker: Asker, sent: Sent) -> None:
    check(asker, "openai", sent)


@given(bodies("anthropic"))
def test_reply_in_the_messages_dialect_is_a_reply_or_an_error_that_is_promised(asker: Asker, sent: Sent) -> None:
    check(asker, "anthropic", sent)


@pytest.mark.slow
@settings(max_examples=FULL)
@given(bodies("openai"))
def test_thousands_of_replies_in_the_chat_dialect(asker: Asker, sent: Sent) -> None:
    check(asker, "openai", sent)


@pytest.mark.slow
@settings(max_examples=FULL)
@given(bodies("anthropic"))
def test_thousands_of_replies_in_the_messages_dialect(asker: Asker, sent: Sent) -> None:
    check(asker, "anthropic", sent)
