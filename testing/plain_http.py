"""Clients for http: httpx2's own read the certificate authorities, which takes 20 ms for each."""

from functools import partial

import httpx2

PlainClient = partial(httpx2.Client, verify=False, trust_env=False)
PlainAsyncClient = partial(httpx2.AsyncClient, verify=False, trust_env=False)
plain_get = partial(httpx2.get, verify=False, trust_env=False)
