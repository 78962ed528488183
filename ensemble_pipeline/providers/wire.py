"""One HTTP exchange with a provider, and checked reading of the JSON that comes back.

Belongs here: connections, the time limit, decoding, field checks. Does not: what a field means (the dialects) or
which error a failure is (``http_errors``).
"""

import asyncio
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import httpx

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.domain import Usage
from ensemble_pipeline.errors import BadReplyError, SettingsError
from ensemble_pipeline.network import is_loopback, ssl_context
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.providers.connections import Connections
from ensemble_pipeline.providers.endpoint import Endpoint, KeyHeader
from ensemble_pipeline.providers.error_bodies import said_by
from ensemble_pipeline.providers.http_errors import (
    bad_reply,
    error_from_exception,
    error_from_response,
    error_from_status,
)
from ensemble_pipeline.providers.repeats import Repeats
from ensemble_pipeline.providers.texts import one_line

CONNECT_TIMEOUT_S = 5.0
# the most that can be believed of one call, for each count and for all together: far beyond any context there is
MAX_TOKENS_PER_CALL = 100_000_000
_NAME_LENGTH = 200
_WHOLE_MS = re.compile(r"[0-9]{1,9}")
_ERROR_STATUS = re.compile(r"[45][0-9]{2}")
# what OpenAI's /responses and Anthropic call what has a status of its own outside of a reply
_STATUS_WORDS = {"rate_limit_exceeded": 429, "rate_limit_error": 429, "overloaded_error": 529, "invalid_prompt": 400}


@dataclass(frozen=True, slots=True)
class WireReply:
    """A decoded JSON object and how long it took, ≥ 0 ms, as the provider says or else as measured."""

    data: Mapping[str, Any]
    latency_ms: int


class Wire:
    """The connections to one provider. The key is in a request only while that is under way."""

    def __init__(
        self,
        endpoint: Endpoint,
        max_connections: int,
        key_header: KeyHeader = "authorization",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._repeats = Repeats()
        self._key_header = key_header

        def connect(most: int) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                base_url=endpoint.base_url,
                headers={"accept": "application/json", **(headers or {})},
                timeout=httpx.Timeout(endpoint.timeout_s, connect=min(CONNECT_TIMEOUT_S, endpoint.timeout_s)),
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
                verify=ssl_context(),
                trust_env=not is_loopback(endpoint.base_url),
            )

        try:
            self._connections = Connections(connect, max_connections)
        except httpx.InvalidURL as error:
            setting = f"ENSEMBLE_PROVIDERS__{endpoint.provider.upper()}__BASE_URL"
            raise SettingsError(f"{setting} is not a URL: {error}. Correct it, e.g. https://host/v1.") from error

    async def post(self, path: str, body: Mapping[str, Any]) -> WireReply:
        """Send `body` once and return the JSON object that comes back.

        Raises:
            ProviderError: the subclass says what happened and who must act.
        """
        return await self._exchange("POST", path, body)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> WireReply:
        """Read `path` once; raises as `post` does."""
        return await self._exchange("GET", path, None, params)

    async def aclose(self) -> None:
        """Release the connections."""
        await self._connections.aclose()

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, params: Mapping[str, str] | None = None
    ) -> WireReply:
        watch = Stopwatch()
        request = self._connections.build_request(method, path, body, params)
        try:
            # httpx bounds each read by itself, so a reply that trickles in could take forever
            with self.endpoint.signed(request, self._key_header):
                async with asyncio.timeout(self.endpoint.timeout_s):
                    response = await self._connections.send(request)
        except (httpx.HTTPError, TimeoutError) as error:
            raise error_from_exception(error, self.endpoint) from error
        if not response.is_success:
            raise error_from_response(response, self.endpoint)
        data = self._decode(response)
        self._check_error_inside(data, response)
        if method == "POST" and self._repeats.is_anothers(response.request.content, response.content, data):
            # what was meant as the answer is still to come on this connection
            await response.extensions["network_stream"].aclose()
            raise bad_reply(self.endpoint, "the reply is the one to another question, delivered again")
        said_ms = _provider_ms(response.headers)
        return WireReply(data, watch.elapsed_ms() if said_ms is None else said_ms)

    def _decode(self, response: httpx.Response) -> Mapping[str, Any]:
        try:
            # Decimal keeps a reported cost exact; NaN and Infinity are not JSON
            data = json.loads(response.content, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, ArithmeticError, RecursionError):
            kind = "a web page" if response.content.lstrip()[:1] == b"<" else "no JSON"
            raise bad_reply(self.endpoint, f"the body is {kind}", response.status_code) from None
        if not isinstance(data, Mapping):
            raise bad_reply(self.endpoint, "the body is not a JSON object", response.status_code)
        return data

    def _check_error_inside(self, data: Mapping[str, Any], response: httpx.Response) -> None:
        # OpenRouter reports an upstream failure as 200 with an error object in place of the choices
        error = data.get("error")
        if not isinstance(error, Mapping) or "choices" in data:
            return
        said = said_by(data)
        status = _status_inside(error.get("code"), said.codes)
        found = error_from_status(status, said, response.headers, self.endpoint)
        # what was used before it failed may be billed
        found.may_be_billed = found.may_be_billed or isinstance(data.get("usage"), Mapping)
        raise found


@dataclass(frozen=True, slots=True)
class Fields:
    """Checked reading of one JSON object of a reply; `path` names it in errors."""

    data: Mapping[str, Any]
    endpoint: Endpoint
    path: str = ""

    def child(self, key: str) -> "Fields":
        """The object at `key`.

        Raises:
            BadReplyError: there is none.
        """
        value = self.data.get(key)
        if not isinstance(value, Mapping):
            raise bad_reply(self.endpoint, f"{self.path}{key} is missing or no object")
        return Fields(value, self.endpoint, f"{self.path}{key}.")

    def optional_child(self, key: str) -> "Fields":
        """The object at `key`, empty where it is missing or null."""
        return self.child(key) if self.data.get(key) is not None else Fields({}, self.endpoint, f"{self.path}{key}.")

    def objects(self, key: str) -> list["Fields"]:
        """The list of objects at `key`.

        Raises:
            BadReplyError: it is missing or holds something else.
        """
        rows = self.data.get(key)
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise bad_reply(self.endpoint, f"{self.path}{key} is missing or no list of objects")
        return [Fields(row, self.endpoint, f"{self.path}{key}[{index}].") for index, row in enumerate(rows)]

    def loose_child(self, key: str) -> "Fields":
        """The object at `key`, empty where there is none, for what an answer does not depend on."""
        value = self.data.get(key)
        return Fields(value if isinstance(value, Mapping) else {}, self.endpoint, f"{self.path}{key}.")

    def rows(self, key: str) -> list["Fields"]:
        """The objects in the list at `key`; none where it is no list, for what an answer does not depend on."""
        rows = self.data.get(key)
        found = enumerate(rows) if isinstance(rows, list) else ()
        return [Fields(row, self.endpoint, f"{self.path}{key}[{i}].") for i, row in found if isinstance(row, Mapping)]

    def tokens(self, key: str, default: int | None = None) -> int:
        """A token count in [0, `MAX_TOKENS_PER_CALL`]; `default` where it is missing or null.

        Raises:
            BadReplyError: it is no such number, or missing without a default.
        """
        value = self.data.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 <= value <= MAX_TOKENS_PER_CALL:
            raise bad_reply(self.endpoint, f"{self.path}{key} is missing or no token count")
        return value

    def text(self, key: str) -> str | None:
        """The string at `key`, ``None`` where there is none."""
        value = self.data.get(key)
        return value if isinstance(value, str) else None

    def name(self, key: str, default: str) -> str:
        """The string at `key` as a short name on one line; `default` where there is none."""
        return one_line(self.text(key) or "", _NAME_LENGTH) or default


def read_usage(top: Fields, read: Callable[[Fields], Usage]) -> Usage | None:
    """The usage of a reply by `read`: the answer is paid for, whatever it says.

    Returns:
        The usage; ``None`` where it is missing, cannot be read, or has more tokens in all than can be believed.
    """
    try:
        usage = read(top.child("usage"))
    except BadReplyError:
        return None
    return usage if usage.input_tokens + usage.output_tokens <= MAX_TOKENS_PER_CALL else None


def bounded_usage(
    input_tokens: int, output_tokens: int, input_details: Fields, output_details: Fields, web_searches: int
) -> Usage:
    """The usage of an OpenAI-shaped reply; what was cached, written and thought is part of the counts it belongs to."""
    cached = min(input_details.tokens("cached_tokens", 0), input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        reasoning_tokens=min(output_details.tokens("reasoning_tokens", 0), output_tokens),
        cache_write_tokens=min(input_details.tokens("cache_write_tokens", 0), input_tokens - cached),
        web_searches=web_searches,
    )


def read_catalogue(reply: WireReply, endpoint: Endpoint) -> ModelCatalogue:
    """The reply to GET /models, which all known providers shape alike."""
    rows = Fields(reply.data, endpoint).objects("data")
    shutdowns = {row.name("id", "?"): row.name("shutdown_date", "") for row in rows if row.text("shutdown_date")}
    return ModelCatalogue(reply.latency_ms, tuple(row.name("id", "?") for row in rows), shutdowns)


def _status_inside(code: object, codes: Collection[str]) -> int:
    """The HTTP status that an error inside a reply names, as a number, in digits or by a word; 502 where by none."""
    if isinstance(code, str) and _ERROR_STATUS.fullmatch(code):
        return int(code)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return next((status for word, status in _STATUS_WORDS.items() if word in codes), 502)


def _provider_ms(headers: Mapping[str, str]) -> int | None:
    # the provider's own figure leaves out the network and our queueing
    said = headers.get("openai-processing-ms", "")
    return int(said) if _WHOLE_MS.fullmatch(said) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
