"""DynamoDB and a pool of threads without either: tables in memory behind a client's methods, and work done at once."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from botocore.exceptions import ClientError
from botocore.hooks import HierarchicalEmitter

from tests.chaos.aws import Paginator
from tests.chaos.tables import Tables


class _Meta:
    """Where hooks are put into a client. None is called here."""

    def __init__(self) -> None:
        self.events = HierarchicalEmitter()


class Client:
    """A DynamoDB client over tables in memory."""

    class exceptions:
        """The errors of a client."""

        ConditionalCheckFailedException = ClientError

    def __init__(self, tables: Tables) -> None:
        self.tables, self.meta = tables, _Meta()

    def put_item(self, **request: Any) -> Any:
        return self.tables.put_item(0.0, request)

    def delete_item(self, **request: Any) -> Any:
        return self.tables.delete_item(0.0, request)

    def get_item(self, **request: Any) -> Any:
        return self.tables.get_item(0.0, request)

    def scan(self, **request: Any) -> Any:
        return self.tables.scan(0.0, request)

    def query(self, **request: Any) -> Any:
        return self.tables.query(request)

    def get_paginator(self, operation: str) -> Paginator:
        """The pages of a scan or a query."""
        return Paginator(self.scan if operation == "scan" else self.query)


class Inline(Executor):
    """Runs what it is given at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done
