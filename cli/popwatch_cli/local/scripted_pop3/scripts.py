"""The parts that the scripted server can play. Each is a coroutine over one connection; most are a few lines long.

A script is named with an argument where it takes one: `delay:0.05`, `err:[SYS/TEMP] Come back later`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

GREETING = b"+OK scripted POP3 ready\r\n"
BYE = b"+OK bye\r\n"
PATIENCE_SECONDS = 120.0
"""How long a script holds a connection on which nothing happens."""


class ScriptError(ValueError):
    """There is no such script; the text lists those that there are."""


class Wire(Protocol):
    """What a script can do with its connection."""

    async def send(self, data: bytes, *, greets: bool = False) -> None:
        """Send at once; `greets` notes the moment as that of the greeting."""

    async def line(self) -> bytes:
        """The next line the client sends, empty at its end."""

    async def start_tls(self) -> None:
        """Go on in TLS."""

    def reset(self) -> None:
        """Break the connection off with RST."""

    def half_close(self) -> None:
        """Send FIN, and go on reading."""

    def cut(self) -> None:
        """Send FIN beneath TLS, without its close_notify."""


Script = Callable[[Wire, str], Awaitable[None]]


async def answer(wire: Wire, quit_reply: bytes = BYE) -> None:
    """Answer commands until QUIT, as a server that offers STLS does."""
    while line := await wire.line():
        match line.strip().upper():
            case b"QUIT":
                await wire.send(quit_reply)
                return
            case b"STLS":
                await wire.send(b"+OK begin TLS\r\n")
                await wire.start_tls()
            case _:
                await wire.send(b"-ERR unknown command\r\n")


async def healthy(wire: Wire, text: str) -> None:
    await wire.send(f"+OK {text}\r\n".encode() if text else GREETING, greets=True)
    await answer(wire)


async def delay(wire: Wire, seconds: str) -> None:
    await asyncio.sleep(float(seconds or 1))
    await wire.send(GREETING, greets=True)
    await answer(wire)


async def silent(wire: Wire, _: str) -> None:
    while await wire.line():
        pass


async def drip(wire: Wire, seconds: str) -> None:
    for byte in GREETING[:-1]:
        await wire.send(bytes([byte]))
        await asyncio.sleep(float(seconds or 0.01))
    await wire.send(GREETING[-1:], greets=True)
    await answer(wire)


async def reset(wire: Wire, said: str) -> None:
    if said:
        await asyncio.sleep(0.05)
        await wire.send(said.encode())
        await asyncio.sleep(0.05)
    wire.reset()


async def cut(wire: Wire, said: str) -> None:
    if said:
        await wire.send(said.encode())
        await asyncio.sleep(0.05)
    wire.cut()


async def close(wire: Wire, said: str) -> None:
    if said:
        await wire.send(said.encode())


async def half_close(wire: Wire, said: str) -> None:
    if said:
        await wire.send(said.encode())
    wire.half_close()
    await silent(wire, "")


async def flood(wire: Wire, _: str) -> None:
    for _chunk in range(160):
        await wire.send(b"x" * 65_536)


async def two_replies(wire: Wire, _: str) -> None:
    await wire.send(GREETING + BYE, greets=True)
    await answer(wire)


async def greeting_after_quit(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await answer(wire, GREETING)


async def quit_silent(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await silent(wire, "")


async def quit_close(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await wire.line()


async def quit_error(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await answer(wire, b"-ERR some deleted messages not removed\r\n")


async def quit_silent_in_tls(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await wire.line()
    await wire.send(b"+OK begin TLS\r\n")
    await wire.start_tls()
    await silent(wire, "")


async def stls_refused(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await wire.line()
    await wire.send(b"-ERR TLS is not available\r\n")
    await answer(wire)


async def stls_injection(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await wire.line()
    await wire.send(b"+OK begin TLS\r\n+OK injected\r\n")
    await silent(wire, "")


async def stls_garbage(wire: Wire, _: str) -> None:
    await wire.send(GREETING, greets=True)
    await wire.line()
    await wire.send(b"+OK begin TLS\r\n")
    await wire.line()
    await wire.send(b"this is no TLS\r\n")
    await silent(wire, "")


async def tls_alert(wire: Wire, _: str) -> None:
    await wire.line()
    await wire.send(bytes.fromhex("15030300020228"))  # fatal, handshake_failure
    await silent(wire, "")


def saying(said: bytes) -> Script:
    """A script that says one thing, then goes along with whatever the client wants."""

    async def say(wire: Wire, _: str) -> None:
        await wire.send(said, greets=True)
        await answer(wire)

    return say


async def error(wire: Wire, text: str) -> None:
    await wire.send(f"-ERR {text or '[SYS/TEMP] Come back later'}\r\n".encode(), greets=True)
    await answer(wire)


async def say(wire: Wire, text: str) -> None:
    await wire.send(text.encode() + b"\r\n", greets=True)
    await answer(wire)


SCRIPTS: dict[str, Script] = {
    "healthy": healthy,
    "delay": delay,
    "silent": silent,
    "drip": drip,
    "reset": reset,
    "close": close,
    "cut": cut,
    "half-close": half_close,
    "flood": flood,
    "two-replies": two_replies,
    "greeting-after-quit": greeting_after_quit,
    "quit-silent": quit_silent,
    "quit-close": quit_close,
    "quit-error": quit_error,
    "quit-silent-in-tls": quit_silent_in_tls,
    "stls-refused": stls_refused,
    "stls-injection": stls_injection,
    "stls-garbage": stls_garbage,
    "tls-alert": tls_alert,
    "error": error,
    "say": say,
    "no-crlf": saying(b"+OK scripted POP3 ready"),
    "bare-lf": saying(b"+OK scripted POP3 ready\n"),
    "nul": saying(b"+OK scripted\0POP3 ready\r\n"),
    "latin1": saying("+OK Grüße\r\n".encode("latin-1")),
    "hostile": saying(b"+OK \x1b[2J\x1b]0;owned\x07 \xe2\x80\xae<script>\r\n"),
    "smtp": saying(b"220 mail.example.net ESMTP ready\r\n"),
    "ftp": saying(b"220 FTP server ready\r\n"),
    "imap": saying(b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
    "ssh": saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "http": saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "tls-record": saying(bytes.fromhex("15030300020246")),
}
"""Every script but `refused`, which is a port on which nobody listens."""


def find(script: str) -> tuple[Script, str]:
    """The script of a name and its argument; raises ScriptError."""
    name, _, argument = script.partition(":")
    if name not in SCRIPTS:
        raise ScriptError(f"There is no script {name!r}; there are refused, {', '.join(sorted(SCRIPTS))}.")
    return SCRIPTS[name], argument.encode().decode("unicode_escape") if name in (
        "reset",
        "close",
        "cut",
        "half-close",
    ) else argument
