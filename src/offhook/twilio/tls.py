"""What the clients of an HTTP API trust."""

import ssl
from functools import cache

import httpx2


@cache
def tls_context(*, encrypted: bool = True, trust_env: bool) -> ssl.SSLContext:
    """Return the context that the clients of a process share.

    Reading the certificate authorities takes 20 ms and 1 MB.

    Args:
        encrypted: whether the URLs are https; if none is, no authorities are read.
        trust_env: whether SSL_CERT_FILE and SSL_CERT_DIR apply.
    """
    return httpx2.create_ssl_context(verify=encrypted, trust_env=trust_env)
