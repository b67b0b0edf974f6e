"""The way to a server: proxies from the environment, certificates, and why a connection failed, in words."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import ssl
import urllib.request
from urllib.parse import urlsplit

import aiohttp

from cai.engines.server.credentials import is_loopback
from cai.engines.server.faults import Later
from cai.values.errors import EngineError, UsageError

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD LAYER", "UNKNOWN_PROTOCOL", "RECORD_LAYER")
TLS_WANTED = "speaks https, not http: write https:// in base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
_ALERT = "\\x15\\x03"  # how the answer of a TLS server to plain text begins


def proxy_for(address: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY name for ``address``; none to loopback."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(parts.netloc) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


def connector(address: str, proxy: str | None) -> aiohttp.BaseConnector:
    """Connections without a bound of their own: ``throttle.py`` has one. Call it inside the event loop.

    Raises:
        UsageError: a socks proxy, and aiohttp-socks is not installed.
    """
    context = _certificates() if address.startswith("https://") else True
    if proxy and proxy.startswith("socks"):
        if importlib.util.find_spec("aiohttp_socks") is None:
            raise UsageError(
                f"the proxy {shown(proxy)} speaks socks. Use: pip install aiohttp-socks, or unset ALL_PROXY."
            )
        from aiohttp_socks import ProxyConnector

        # The proxy resolves names where its scheme says so (socks5h), as with curl.
        remote = proxy.startswith(("socks5h", "socks4a"))
        url = proxy.replace("socks5h", "socks5", 1).replace("socks4a", "socks4", 1)
        made = ProxyConnector.from_url(url, rdns=remote, ssl=context, limit=0)
        assert isinstance(made, aiohttp.BaseConnector)
        return made
    return aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, ssl=context)


def shown(proxy: str) -> str:
    """A proxy's address without user and password."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def why(error: BaseException, address: str, proxy: str | None) -> Later | EngineError:
    """What a failed connection means: something that may pass, or a fault that waiting does not mend."""
    return _for_good(error, address, proxy) or _for_now(error, address, proxy)


async def wants_tls(address: str) -> bool:
    """Whether an address of http:// leads to a port that speaks https: some drop plain text in silence."""
    url = urlsplit(address)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said to it
    try:
        opening = asyncio.open_connection(url.hostname, url.port or 80, ssl=context)
        _, writer = await asyncio.wait_for(opening, 3.0)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _for_good(error: BaseException, address: str, proxy: str | None) -> EngineError | None:
    at, text, found = f"the server at {address}", str(error), None
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause = getattr(error, "certificate_error", error)
        reason = getattr(cause, "verify_message", "") or cause
        found = (
            f"{at} shows a certificate that is not trusted ({reason}). "
            "Give its authority's file in SSL_CERT_FILE, or check the address."
        )
    elif isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        plain = any(mark in text.upper() for mark in _NO_TLS)
        found = (
            f"{at} speaks http, not https: write http:// in base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
            if plain
            else f"{at}: no secure connection ({text})."
        )
    elif isinstance(error, aiohttp.ClientHttpProxyError) and error.status not in (502, 503, 504):
        found = f"the proxy {shown(proxy or '')} does not lead to {address} ({error.status} {error.message})."
    elif isinstance(error, aiohttp.InvalidURL):
        found = (
            f"{at} has an address that cannot be read. "
            "It comes from base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
        )
    elif isinstance(error, aiohttp.ClientResponseError) and _ALERT in text:
        found = f"{at} {TLS_WANTED}"
    return EngineError(found) if found else None


def _for_now(error: BaseException, address: str, proxy: str | None) -> Later:
    url = urlsplit(address)
    place = f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}"
    way = f" through the proxy {shown(proxy)}" if proxy else ""
    away: str | None = None
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        away = f"no connection to the proxy {shown(proxy or '')} ({_reason(error)})"
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        away = f"{error.status} from the proxy {shown(proxy or '')}"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        away = f"the name {url.hostname} is unknown (DNS){way}"
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        away = f"no connection to {place} in time{way}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        away = f"{_reason(error)} at {place}{way}"
    if away is not None:
        return Later("away", away, alive=False)
    if isinstance(error, TimeoutError):
        return Later("request", "no answer in time", alive=False)
    if isinstance(error, aiohttp.ClientResponseError):
        return Later("request", f"no HTTP came back ({error.message[:100]!r})", alive=False)
    return Later("request", f"the connection was dropped ({_reason(error)}){way}", alive=False)


def _reason(error: BaseException) -> str:
    """ "connection refused", rather than a class's name and an address."""
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, ConnectionRefusedError):
        return "connection refused: nobody listens"
    if isinstance(inner, OSError) and inner.errno and inner.strerror:
        return os.strerror(inner.errno).lower() if inner.errno > 0 else inner.strerror.lower()
    return str(error)[:200] or type(error).__name__


def _certificates() -> ssl.SSLContext:
    """The system's authorities, and certifi's where that is installed and nothing else was asked for."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and importlib.util.find_spec("certifi") is not None:
        import certifi

        context.load_verify_locations(certifi.where())
    return context
