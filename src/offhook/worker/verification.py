"""Verify a deferred request in a worker, then accept it as a message or a status."""

import time

from offhook.core.deferred import Deferred
from offhook.core.inbound import Inbound
from offhook.core.reasons import Cause
from offhook.ingress.validation import Rejection, Validator
from offhook.stores.api import Claim, Intake
from offhook.stores.availability import StoreWatch
from offhook.worker.outcome import Result, Returned, Unhandled


async def verify(
    claim: Claim, validator: Validator, store: Intake[Inbound], watch: StoreWatch
) -> Result:
    """Verify a deferred request and accept it, or return why it is discarded.

    An accepted request is stored under the dedupe key that its repeats share: once, also when this
    is repeated after a crash, or a repeat was accepted meanwhile. It may be stored after its
    successors, so it is marked as spooled.

    Raises:
        CredentialsUnavailable: it can't be verified yet.
    """
    validated = await validator.verify(Deferred.of(claim.form).request)
    if isinstance(validated, Rejection):
        return Unhandled(Cause.NOT_TWILIOS(validated.reason.value))
    age = max(0.0, time.time() - claim.received)
    genuine = Inbound.of(validated.webhook)._replace(age=age, spooled=True)
    await watch.persist(lambda: store.accept(genuine))
    return Returned()
