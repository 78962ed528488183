"""What every HTTP client here needs before it connects: certificates, and whether a host is this machine."""

import ipaddress
from functools import cache
from ssl import SSLContext

import httpx


@cache
def ssl_context() -> SSLContext:
    """The context all clients share: loading the certificates takes longer than a call on loopback."""
    return httpx.create_ssl_context()


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine; a proxy from the environment must not be asked for it.

    Raises:
        httpx.InvalidURL: it is no URL.
    """
    host = httpx.URL(url).host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
