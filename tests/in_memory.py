"""DynamoDB and a pool of threads without either: tables in memory behind a client's methods, and work done at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from botocore.exceptions import ClientError
from botocore.hooks import HierarchicalEmitter

from tests.chaos.tables import Tables, pages


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

    def get_paginator(self, operation: str) -> "Pages":
        """The pages of a scan or a query."""
        scans = operation == "scan"
        return Pages((lambda **request: self.tables.scan(0.0, request)) if scans else self._query)

    def _query(self, **request: Any) -> Any:
        return self.tables.query(request)


class Pages:
    """All pages of an operation."""

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self._ask = ask

    def paginate(self, PaginationConfig: object = None, **request: Any) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        return pages(self._ask, request)


class Inline(Executor):
    """Runs what it is given at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done
