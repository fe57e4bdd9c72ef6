"""DynamoDB and a pool of threads without either: tables in memory behind a client's methods, and work done at once."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from threading import Lock
from typing import Any

from botocore.exceptions import ClientError
from botocore.hooks import HierarchicalEmitter

from tests.chaos.aws import Paginator
from tests.chaos.tables import Tables


@dataclass(frozen=True, slots=True)
class _Operation:
    """What hooks receive as botocore's model of an operation."""

    name: str


class _Meta:
    """Where hooks are put into a client: those before and after a call are called, since there is nothing to parse."""

    def __init__(self) -> None:
        self.events = HierarchicalEmitter()


class Client:
    """A DynamoDB client over tables in memory."""

    class exceptions:
        """The errors of a client."""

        ConditionalCheckFailedException = ClientError

    _lock = Lock()
    """Of all clients: several may share tables."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.meta = tables, _Meta()

    def put_item(self, **request: Any) -> Any:
        return self._call("PutItem", lambda: self.tables.put_item(0.0, request))

    def delete_item(self, **request: Any) -> Any:
        return self._call("DeleteItem", lambda: self.tables.delete_item(0.0, request))

    def get_item(self, **request: Any) -> Any:
        return self._call("GetItem", lambda: self.tables.get_item(0.0, request))

    def scan(self, **request: Any) -> Any:
        return self._call("Scan", lambda: self.tables.scan(0.0, request))

    def query(self, **request: Any) -> Any:
        return self._call("Query", lambda: self.tables.query(request))

    def get_paginator(self, operation: str) -> Paginator:
        """The pages of a scan or a query."""
        return Paginator(self.scan if operation == "scan" else self.query)

    def _call(self, operation: str, effect: Callable[[], Any]) -> Any:
        """Hooks after a call are called for a refusal, too, as botocore does."""
        self._emit("before-call", operation)
        try:
            with self._lock:
                return effect()
        finally:
            self._emit("after-call", operation)

    def _emit(self, event: str, operation: str) -> None:
        self.meta.events.emit(f"{event}.dynamodb.{operation}", model=_Operation(operation))


class Inline(Executor):
    """Runs what it is given at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done
