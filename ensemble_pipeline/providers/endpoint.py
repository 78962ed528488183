"""Whom a client talks to, and the one place where a key is opened.

Belongs here: addresses fit to be shown; a key from the environment, into a request and out of a text. Does not:
connections (``wire``), what an error says (``http_errors``).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from ensemble_pipeline.errors import CredentialsError
from ensemble_pipeline.providers.texts import without_keys

KeyHeader = Literal["authorization", "x-api-key"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom a client talks to. `timeout_s` bounds one whole exchange."""

    provider: str
    base_url: str
    timeout_s: float
    api_key_env: str | None = None
    api_key: SecretStr | None = None

    @property
    def shown_url(self) -> str:
        """`base_url` without user name and password."""
        return shown_url(self.base_url)

    @contextmanager
    def signed(self, request: httpx.Request, header: KeyHeader) -> Iterator[None]:
        """The key in `request` until the block ends: errors keep their request, and must not keep the key with it."""
        if self.api_key is None:
            yield
            return
        key = self.api_key.get_secret_value()
        request.headers[header] = f"Bearer {key}" if header == "authorization" else key
        try:
            yield
        finally:
            del request.headers[header]

    def without_key(self, text: str) -> str:
        """`text` without the key, and without anything of the shape of a provider's key."""
        return without_keys(text, None if self.api_key is None else self.api_key.get_secret_value())


def shown_url(url: str) -> str:
    """`url` without user name, password and query.

    >>> shown_url("https://ann:secret@host:8000/v1?key=1")
    'https://host:8000/v1'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_key(provider: str, variable: str, environ: Mapping[str, str]) -> SecretStr:
    """The key of `provider`, which `variable` holds.

    Raises:
        CredentialsError: it holds none, or none that can be sent.
    """
    key = SecretStr(environ.get(variable, "").strip())
    if not key:
        raise CredentialsError(f"{provider} needs a key and {variable} holds none. Set {variable}.")
    # refused here because the HTTP library would print the value it cannot send
    if not _can_be_sent(key):
        raise CredentialsError(f"{variable} holds characters that no key has (blanks, accents). Set it again.")
    return key


def _can_be_sent(key: SecretStr) -> bool:
    text = key.get_secret_value()
    return text.isascii() and text.isprintable() and " " not in text
