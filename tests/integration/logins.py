"""Logins for a world: a credential in SSM, and what a sweep uses it with."""

from datetime import datetime
from typing import Any

from moto.ssm.models import ssm_backends

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.credentials import Credentials
from popwatch.aws.store import Store
from popwatch.model.credentials import Secret
from popwatch.model.stored_credentials import StoredCredential, path_of, to_value
from popwatch.prober.access_tokens import AccessTokens
from popwatch.sweep.logins import Logins
from tests.integration.world import TABLES, World

CANARY = "canary-51fd"


def with_logins(world: World, ssm: Any, name: str = "monitor") -> Logins:
    """The logins of a world's sweeps, with one credential that is stored."""
    put_credential(world, ssm, name)

    def clock() -> Any:
        return world.now

    topics = AlertTopics(world.watched_sns, world.topic, world.sms_topic)
    credentials = Credentials(lambda: ssm, path_of(world.stack), clock)
    store = Store(world.watched_dynamodb, TABLES, clock)
    return Logins(store, credentials, AccessTokens(clock), topics, clock, stack=world.stack)


def put_credential(world: World, ssm: Any, name: str = "monitor", *, user: str = "anna", secret: str = CANARY) -> None:
    """Store a credential, or another version of it."""
    put_parameter(ssm, path_of(world.stack) + name, to_value(StoredCredential(name, user, Secret(secret))), world.now)


def put_parameter(ssm: Any, name: str, value: str, at: datetime) -> None:
    """Store a parameter, or another version of it, at a world's time: moto's own may be one of its future."""
    ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    for backend in (backend for regions in ssm_backends.values() for backend in regions.values()):
        for version in backend._parameters[name][-1:]:
            version.last_modified_date = at
