"""Deferred requests: verified by a worker, then accepted as what they are."""

import time

from offhook.core.reasons import Cause
from offhook.deferral import restore
from offhook.patience import StoreWatch
from offhook.ports import Claim, Intake
from offhook.validation import Outcome
from offhook.verification import Verifier
from offhook.worker.decide import Result, Returned, Unhandled


async def verify(claim: Claim, verifier: Verifier, store: Intake, watch: StoreWatch) -> Result:
    """Verify a deferred request; accept it, or have it discarded, with its cause.

    Accepted, it is an ordinary message, under the key that all its repeats share: it is stored
    once, also when this is repeated after a crash, or its repeat was accepted meanwhile. It may be
    later than its successors, and says so as what comes by way of a spool.

    Raises:
        CredentialsUnavailable: it can't be verified yet.
    """
    validated = await verifier.verify(restore(claim.form))
    if isinstance(validated, Outcome):
        return Unhandled(Cause.NOT_TWILIOS(validated.answer.error))
    age = max(0.0, time.time() - claim.received)
    genuine = validated._replace(age=age, spooled=True)
    await watch.persist(lambda: store.accept(genuine))
    return Returned()
