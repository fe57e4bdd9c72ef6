"""How a script logs in: CAPA, USER and PASS, APOP, AUTH PLAIN and XOAUTH2, STAT; any user, one password."""

import asyncio
import binascii
import hashlib
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Protocol

PASSWORD = b"correct-horse"
"""The password, and XOAUTH2's token, that is accepted of every user."""

TIMESTAMP = b"<1896.697170952@scripted.example>"
CAPABILITIES = (b"USER", b"SASL PLAIN XOAUTH2", b"RESP-CODES", b"AUTH-RESP-CODE")
MAILBOX = b"+OK 3 4096\r\n"
OK, UNKNOWN = b"+OK\r\n", b"-ERR unknown command\r\n"
WRONG = b"-ERR [AUTH] wrong user or password\r\n"
TOKEN_FAULT = b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"
"""XOAUTH2's challenge to a client with a wrong token: `{"status":"401"}`."""


class LoginConnection(Protocol):
    """A connection, as logins use it."""

    async def send(self, data: bytes, *, greets: bool = False) -> None:
        """Send at once."""

    async def line(self) -> bytes:
        """The next line of the client, empty at the end of the stream."""

    async def start_tls(self) -> None:
        """Continue in TLS."""


Answer = Callable[[LoginConnection, bytes], Awaitable[bytes]]
"""What is sent after the last line of a login, given that line; nothing: the connection is closed."""


async def serve(
    client: LoginConnection,
    *,
    answer: Answer | None = None,
    answered: bytes = b"",
    capabilities: tuple[bytes, ...] = CAPABILITIES,
    mailbox: bytes = MAILBOX,
    greeting: bytes = b"+OK scripted POP3 ready " + TIMESTAMP + b"\r\n",
) -> None:
    """Greet, and serve a client that logs in; `answer` is given the last line of the login in place of a check of it.

    Or the line of the command `answered`, and the login is checked.
    Without `capabilities` CAPA is not known.
    """
    await client.send(greeting, greets=True)
    while line := await client.line():
        command, _, argument = line.strip().partition(b" ")
        match command.upper():
            case name if answer and name == answered:
                if not (said := await answer(client, line)):
                    return
                await client.send(said)
            case b"QUIT":
                await client.send(b"+OK bye\r\n")
                return
            case b"STLS":
                await client.send(b"+OK begin TLS\r\n")
                await client.start_tls()
            case b"CAPA":
                lines = b"".join(name + b"\r\n" for name in (*capabilities, b"."))
                await client.send(OK + lines if capabilities else UNKNOWN)
            case b"USER":
                await client.send(OK)
            case b"PASS" | b"APOP" | b"AUTH":
                last, right = await _login(client, command.upper(), argument, line)
                said = await answer(client, last) if answer and not answered else OK if right else WRONG
                if not said:
                    return
                await client.send(said)
            case b"STAT":
                await client.send(mailbox)
            case _:
                await client.send(UNKNOWN)


async def _login(client: LoginConnection, command: bytes, argument: bytes, line: bytes) -> tuple[bytes, bool]:
    """The last line of the login, and whether its secret is the right one."""
    if command == b"PASS":
        return line, argument == PASSWORD
    if command == b"APOP":
        digest = hashlib.md5(TIMESTAMP + PASSWORD, usedforsecurity=False).hexdigest().encode()
        return line, argument.endswith(b" " + digest)
    mechanism, _, response = argument.partition(b" ")
    if not response:
        await client.send(b"+ \r\n")
        line = response = await client.line()
    try:
        sent = b64decode(response)
    except binascii.Error:
        return line, False
    if mechanism.upper() == b"PLAIN":
        return line, sent.rpartition(b"\0")[2] == PASSWORD
    right = sent.endswith(b"\1auth=Bearer " + PASSWORD + b"\1\1")
    if not right:
        await client.send(TOKEN_FAULT)
        await client.line()
    return line, right


def saying(text: bytes) -> Answer:
    """An answer that is the same whatever the client sent."""

    async def say(_: LoginConnection, _line: bytes) -> bytes:
        return text

    return say


def after(seconds: float, text: bytes) -> Answer:
    """An answer that takes some time."""

    async def say(_: LoginConnection, _line: bytes) -> bytes:
        await asyncio.sleep(seconds)
        return text

    return say


async def repeating(_: LoginConnection, line: bytes) -> bytes:
    """An answer with what the client sent, as careless servers have in their -ERR."""
    return b"-ERR bad command: " + line.strip()[:400] + b"\r\n"


async def never(client: LoginConnection, _: bytes) -> bytes:
    """No answer: the client hangs up."""
    while await client.line():
        pass
    return b""
