"""Logins for a world: a credential in SSM, and what a sweep uses it with."""

from typing import Any

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
    value = to_value(StoredCredential(name, user, Secret(secret)))
    ssm.put_parameter(Name=path_of(world.stack) + name, Value=value, Type="SecureString", Overwrite=True)
