"""Validation as Twilio's tutorial for FastAPI and Flask has it: the SDK's `RequestValidator`.

https://www.twilio.com/docs/usage/tutorials/how-to-secure-your-flask-app-by-validating-incoming-twilio-requests
"""

import os
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Response
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

PUBLIC_URL = os.environ.get("OFFHOOK_PUBLIC_URL", "")
EMPTY = "<Response/>"

validator = RequestValidator(os.environ.get("TWILIO_AUTH_TOKEN", ""))


async def _validated(request: Request) -> dict[str, str]:
    form = {name: str(value) for name, value in (await request.form()).items()}
    signature = request.headers.get("X-Twilio-Signature", "")
    if not validator.validate(PUBLIC_URL + request.url.path, form, signature):
        raise HTTPException(403)
    return form


Form = Annotated[dict[str, str], Depends(_validated)]


def acknowledge() -> Response:
    return Response(EMPTY, media_type="text/xml")
