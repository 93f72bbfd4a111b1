"""How servers are reached: the addresses of their routes, proxies and certificates.

Other machines are reached as the environment says: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, and
for certificates ``SSL_CERT_FILE``, ``SSL_CERT_DIR``, ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE``. Servers of this
machine are reached directly: a proxy cannot reach them.
"""

import base64
import ipaddress
import os
import ssl
import urllib.request
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from charter.core.errors import ServingError

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine."""


def is_loopback(url: str) -> bool:
    """Whether a server's address is on this machine: localhost, 127.0.0.0/8 or ::1."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, such as localhost.example.com
        return False


def route(base_url: str, path: str) -> str:
    """The address of a route such as ``chat/completions``; a query in the base URL stays at the end."""
    parts = urlsplit(base_url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl()


def metrics_url(base_url: str) -> str:
    """The address of vLLM's metrics, which are next to ``/v1``."""
    parts = urlsplit(base_url.rstrip("/"))
    return parts._replace(path=parts.path.rstrip("/").removesuffix("/v1") + "/metrics", query="").geturl()


def opener(url: str) -> urllib.request.OpenerDirector:
    """Opens a server's URLs, with the proxy and the certificates of the environment if it is on another machine.

    Raises:
        ServingError: a file of certificates cannot be read.
    """
    if is_loopback(url):
        return DIRECT
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(), urllib.request.HTTPSHandler(context=certificates())
    )


class Proxy(NamedTuple):
    """A proxy."""

    url: str
    """Without a login."""
    headers: dict[str, str]
    """Its login, if it needs one."""


def proxy_of(url: str) -> Proxy | None:
    """The proxy for a URL; None if it is reached directly."""
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = urllib.request.getproxies()
    if not (proxy := proxies.get(parts.scheme) or proxies.get("all")):
        return None
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    login, _, host = address.netloc.rpartition("@")
    encoded = base64.b64encode(unquote(login).encode()).decode()
    headers = {"Proxy-Authorization": f"Basic {encoded}"} if login else {}
    return Proxy(address._replace(netloc=host).geturl(), headers)


def certificates() -> ssl.SSLContext:
    """The certificates that servers are checked against.

    Raises:
        ServingError: a file of certificates cannot be read.
    """
    context = ssl.create_default_context()  # reads SSL_CERT_FILE and SSL_CERT_DIR
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if not (path := os.environ.get(name)):
            continue
        try:
            if os.path.isdir(path):
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise ServingError(f"${name} '{path}': no certificates can be read from it ({error}).") from error
    return context
