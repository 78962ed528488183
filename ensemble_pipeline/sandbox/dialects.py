"""One way to speak to a model over HTTP: what a route of a provider needs of its wire format.

Belongs here: the wire formats behind one face. Does not: what bodies look like (``openai_wire``, ``responses_wire``,
``anthropic_wire``),
what is answered and what goes wrong (``provider_routes``).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from ensemble_pipeline.sandbox import anthropic_wire, openai_wire, responses_wire
from ensemble_pipeline.sandbox.asking import Completion, Question, Refusal
from ensemble_pipeline.sandbox.kalshi_wire import write_time
from ensemble_pipeline.sandbox.openai_wire import Reply
from ensemble_pipeline.sandbox.world import WorldModel


class Dialect(Protocol):
    """A provider's wire format. `number` makes the ids of a reply, which no other reply has."""

    provider: str

    def key_in(self, headers: Mapping[str, str]) -> str:
        """The key a request carries; empty where it has none."""
        ...

    def check(self, headers: Mapping[str, str]) -> Refusal | None:
        """The refusal that missing or wrong headers earn."""
        ...

    def parse(self, body: Any, headers: Mapping[str, str]) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
        """What a request asks, or why it asks nothing."""
        ...

    def write(self, number: int, at: datetime, completion: Completion) -> Reply:
        """The reply that carries a completion."""
        ...

    def refuse(self, number: int, refusal: Refusal) -> Reply:
        """The reply that carries an error."""
        ...

    def list_models(self, at: datetime, models: list[WorldModel]) -> Reply:
        """The reply that lists the models on offer."""
        ...


class ChatDialect:
    """``/chat/completions``, as each OpenAI-shaped provider speaks it."""

    def __init__(self, provider: str, accepted_key: str) -> None:
        self.provider = provider
        self._accepted_key = accepted_key

    def key_in(self, headers: Mapping[str, str]) -> str:
        """The bearer key."""
        return openai_wire.key_in(headers.get("authorization"))

    def check(self, headers: Mapping[str, str]) -> Refusal | None:
        """Only the key matters."""
        return openai_wire.check_key(self.provider, headers.get("authorization"), self._accepted_key)

    def parse(self, body: Any, headers: Mapping[str, str]) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
        """Read a chat completions request."""
        del headers
        return openai_wire.parse_request(body)

    def write(self, number: int, at: datetime, completion: Completion) -> Reply:
        """A chat completion."""
        return openai_wire.write_completion(self.provider, number, int(at.timestamp()), completion)

    def refuse(self, number: int, refusal: Refusal) -> Reply:
        """An error in the provider's own words."""
        del number
        return openai_wire.write_refusal(self.provider, refusal)

    def list_models(self, at: datetime, models: list[WorldModel]) -> Reply:
        """A models listing."""
        return 200, openai_wire.write_models(models, int(at.timestamp())), {}


class ResponsesDialect(ChatDialect):
    """``/responses``: keys, errors and models are those of chat completions."""

    def parse(self, body: Any, headers: Mapping[str, str]) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
        """Read a request for a response."""
        del headers
        return responses_wire.parse_request(self.provider, body)

    def write(self, number: int, at: datetime, completion: Completion) -> Reply:
        """A response."""
        return responses_wire.write_response(self.provider, number, int(at.timestamp()), completion)


class MessagesDialect:
    """Anthropic's ``/messages``."""

    provider = "anthropic"

    def __init__(self, accepted_key: str) -> None:
        self._accepted_key = accepted_key

    def key_in(self, headers: Mapping[str, str]) -> str:
        """The key of its header."""
        return headers.get("x-api-key", "")

    def check(self, headers: Mapping[str, str]) -> Refusal | None:
        """Key and version."""
        return anthropic_wire.check_headers(headers, self._accepted_key)

    def parse(self, body: Any, headers: Mapping[str, str]) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
        """Read a messages request for the version in the headers."""
        return anthropic_wire.parse_request(body, headers.get("anthropic-version", ""))

    def write(self, number: int, at: datetime, completion: Completion) -> Reply:
        """A message."""
        del at
        return anthropic_wire.write_completion(number, completion)

    def refuse(self, number: int, refusal: Refusal) -> Reply:
        """An error."""
        return anthropic_wire.write_refusal(number, refusal)

    def list_models(self, at: datetime, models: list[WorldModel]) -> Reply:
        """A models listing."""
        return 200, anthropic_wire.write_models(models, write_time(at)), {}
