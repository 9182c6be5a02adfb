"""Clients for http: httpx2's own read the certificate authorities, which takes 20 ms for each."""

from functools import partial

import httpx2

_PATIENCE = 60.0  # seconds; for machines that do other things too

PlainClient = partial(httpx2.Client, verify=False, trust_env=False, timeout=_PATIENCE)
PlainAsyncClient = partial(httpx2.AsyncClient, verify=False, trust_env=False, timeout=_PATIENCE)
plain_get = partial(httpx2.get, verify=False, trust_env=False, timeout=_PATIENCE)
