"""The scripts: each is a coroutine that serves one connection, and shows one way in which a POP3 server can behave.

A script can take an argument after its name: `delay:0.05`, `error:[SYS/TEMP] Come back later`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from popwatch_cli.local.scripted_pop3 import logins

GREETING = b"+OK scripted POP3 ready\r\n"
BYE = b"+OK bye\r\n"
IDLE_SECONDS = 120.0
"""How long a script keeps an idle connection."""


class ScriptError(ValueError):
    """The script does not exist; the text lists the scripts."""


class ClientConnection(Protocol):
    """A connection, as scripts use it."""

    async def send(self, data: bytes, *, greets: bool = False) -> None:
        """Send at once; with `greets` the time is kept as that of the greeting."""

    async def line(self) -> bytes:
        """The next line of the client, empty at the end of the stream."""

    async def start_tls(self) -> None:
        """Continue in TLS."""

    def reset(self) -> None:
        """Break the connection with RST."""

    def half_close(self) -> None:
        """Send FIN and continue reading."""

    def cut(self) -> None:
        """Send FIN without the close_notify of TLS."""


Script = Callable[[ClientConnection, str], Awaitable[None]]


async def answer(client: ClientConnection, quit_reply: bytes = BYE) -> None:
    """Answer commands until QUIT, with STLS supported."""
    while line := await client.line():
        match line.strip().upper():
            case b"QUIT":
                await client.send(quit_reply)
                return
            case b"STLS":
                await client.send(b"+OK begin TLS\r\n")
                await client.start_tls()
            case _:
                await client.send(b"-ERR unknown command\r\n")


async def healthy(client: ClientConnection, text: str) -> None:
    """Greet, with the argument as text, and answer QUIT."""
    await client.send(f"+OK {text}\r\n".encode() if text else GREETING, greets=True)
    await answer(client)


async def delay(client: ClientConnection, seconds: str) -> None:
    """Greet after so many seconds."""
    await asyncio.sleep(float(seconds or 1))
    await client.send(GREETING, greets=True)
    await answer(client)


async def silent(client: ClientConnection, _: str) -> None:
    """Accept the connection and send nothing."""
    while await client.line():
        pass


async def drip(client: ClientConnection, seconds: str) -> None:
    """Send the greeting byte by byte."""
    for byte in GREETING[:-1]:
        await client.send(bytes([byte]))
        await asyncio.sleep(float(seconds or 0.01))
    await client.send(GREETING[-1:], greets=True)
    await answer(client)


async def reset(client: ClientConnection, text: str) -> None:
    """Send the argument, then break the connection."""
    if text:
        await asyncio.sleep(0.05)
        await client.send(text.encode())
        await asyncio.sleep(0.05)
    client.reset()


async def cut(client: ClientConnection, text: str) -> None:
    """Send the argument, then end the stream without close_notify."""
    if text:
        await client.send(text.encode())
        await asyncio.sleep(0.05)
    client.cut()


async def close(client: ClientConnection, text: str) -> None:
    """Send the argument, then close."""
    if text:
        await client.send(text.encode())


async def half_close(client: ClientConnection, text: str) -> None:
    """Send the argument and FIN, and keep the connection open."""
    if text:
        await client.send(text.encode())
    client.half_close()
    await silent(client, "")


async def flood(client: ClientConnection, _: str) -> None:
    """Send 10 MB without a line end."""
    for _chunk in range(160):
        await client.send(b"x" * 65_536)


async def two_replies(client: ClientConnection, _: str) -> None:
    """Send greeting and reply to QUIT at once."""
    await client.send(GREETING + BYE, greets=True)
    await answer(client)


async def greeting_after_quit(client: ClientConnection, _: str) -> None:
    """Answer QUIT with the greeting."""
    await client.send(GREETING, greets=True)
    await answer(client, GREETING)


async def quit_silent(client: ClientConnection, _: str) -> None:
    """Greet, and do not answer QUIT."""
    await client.send(GREETING, greets=True)
    await silent(client, "")


async def quit_close(client: ClientConnection, _: str) -> None:
    """Greet, and close after QUIT."""
    await client.send(GREETING, greets=True)
    await client.line()


async def quit_error(client: ClientConnection, _: str) -> None:
    """Answer QUIT with -ERR."""
    await client.send(GREETING, greets=True)
    await answer(client, b"-ERR some deleted messages not removed\r\n")


async def quit_silent_in_tls(client: ClientConnection, _: str) -> None:
    """Accept STLS, and do not answer QUIT."""
    await client.send(GREETING, greets=True)
    await client.line()
    await client.send(b"+OK begin TLS\r\n")
    await client.start_tls()
    await silent(client, "")


async def stls_refused(client: ClientConnection, _: str) -> None:
    """Answer STLS with -ERR."""
    await client.send(GREETING, greets=True)
    await client.line()
    await client.send(b"-ERR TLS is not available\r\n")
    await answer(client)


async def stls_injection(client: ClientConnection, _: str) -> None:
    """Send plain text after the reply to STLS."""
    await client.send(GREETING, greets=True)
    await client.line()
    await client.send(b"+OK begin TLS\r\n+OK injected\r\n")
    await silent(client, "")


async def stls_garbage(client: ClientConnection, _: str) -> None:
    """Accept STLS, then send plain text instead of TLS."""
    await client.send(GREETING, greets=True)
    await client.line()
    await client.send(b"+OK begin TLS\r\n")
    await client.line()
    await client.send(b"this is not TLS\r\n")
    await silent(client, "")


IN_CLEAR = "TOP,UIDL,RESP-CODES,PIPELINING,STLS"
IN_TLS = "TOP,UIDL,RESP-CODES,PIPELINING,USER,SASL PLAIN SCRAM-SHA-256"


async def offers(client: ClientConnection, text: str) -> None:
    """Answer CAPA, USER and STLS as the argument says, such as `clear=TOP,STLS;tls=TOP,USER;user`.

    `clear` and `tls`: what CAPA lists before and after TLS. `user`: USER is accepted without TLS. `secure`: the
    connection began in TLS. `no-stls`, `no-capa`: the command is refused. `trouble`: all are, by [SYS/TEMP]. `endless`:
    the reply to CAPA has no end. `garbage`, `alert`, `close`, `reset`, `silence`: that comes instead of TLS;
    `injection`: plain text with the reply to STLS.
    """
    given = {name: value for name, _, value in (part.partition("=") for part in text.split(";"))}
    secure = "secure" in given
    refusal = b"-ERR [SYS/TEMP] come back later\r\n" if "trouble" in given else b"-ERR refused\r\n"
    refused = {b"CAPA": "no-capa" in given, b"STLS": "no-stls" in given}
    await client.send(GREETING, greets=True)
    while line := await client.line():
        command = line.upper().split()[0] if line.strip() else b""
        refused[b"USER"] = not secure and "user" not in given
        if command == b"QUIT":
            await client.send(BYE)
            return
        if "trouble" in given or refused.get(command, True):
            await client.send(refusal)
        elif command == b"CAPA":
            listed = given.get("tls", IN_TLS) if secure else given.get("clear", IN_CLEAR)
            lines = "".join(f"{name}\r\n" for name in listed.split(",") if name)
            await client.send(f"+OK\r\n{lines * (1000 if 'endless' in given else 1)}.\r\n".encode())
        else:
            injected = b"-ERR no TLS\r\n" if command == b"STLS" and "injection" in given else b""
            await client.send(b"+OK\r\n" + injected)
            if command == b"STLS":
                await _begin_tls(client, given)
                secure = True


async def _begin_tls(client: ClientConnection, given: Mapping[str, str]) -> None:
    """TLS, or what comes instead of it; the client's first lines are of its handshake."""
    match next((name for name in ("garbage", "alert", "close", "reset", "silence") if name in given), ""):
        case "garbage":
            await client.line()
            await client.send(b"this is not TLS\r\n")
        case "alert":
            await tls_alert(client, "")
        case "close":
            client.half_close()
        case "reset":
            client.reset()
        case "silence":
            await silent(client, "")
        case _:
            await client.start_tls()


async def tls_alert(client: ClientConnection, _: str) -> None:
    """Answer the ClientHello with a fatal alert."""
    await client.line()
    await client.send(bytes.fromhex("15030300020228"))  # fatal, handshake_failure
    await silent(client, "")


def greeting_with(greeting: bytes) -> Script:
    """A script that sends a fixed greeting, then answers commands."""

    async def say(client: ClientConnection, _: str) -> None:
        await client.send(greeting, greets=True)
        await answer(client)

    return say


async def error(client: ClientConnection, text: str) -> None:
    """Greet with -ERR and the argument."""
    await client.send(f"-ERR {text or '[SYS/TEMP] Come back later'}\r\n".encode(), greets=True)
    await answer(client)


async def say(client: ClientConnection, text: str) -> None:
    """Greet with the argument."""
    await client.send(text.encode() + b"\r\n", greets=True)
    await answer(client)


async def login(client: ClientConnection, capabilities: str) -> None:
    """Log in whoever has the password; the argument has further capabilities, with commas between them."""
    added = tuple(capabilities.encode().split(b",")) if capabilities else ()
    await logins.serve(client, capabilities=(*logins.CAPABILITIES, *added))


async def login_old(client: ClientConnection, text: str) -> None:
    """Know no CAPA, and refuse every login with the argument."""
    await logins.serve(client, capabilities=(), answer=logins.saying(f"-ERR {text}".encode().strip() + b"\r\n"))


async def login_refused(client: ClientConnection, text: str) -> None:
    """Refuse every login with the argument: `[IN-USE] locked`."""
    await logins.serve(client, answer=logins.saying(f"-ERR {text}".encode().strip() + b"\r\n"))


async def login_slow(client: ClientConnection, seconds: str) -> None:
    """Take so many seconds for a login."""
    await logins.serve(client, answer=logins.after(float(seconds or 1), logins.OK))


async def login_silent(client: ClientConnection, command: str) -> None:
    """Do not answer a login, or the command in the argument: `STAT`."""
    await logins.serve(client, answer=logins.never, answered=command.encode())


async def login_close(client: ClientConnection, command: str) -> None:
    """Close after the last line of a login, or after the command in the argument: `STAT`."""
    await logins.serve(client, answer=logins.saying(b""), answered=command.encode())


async def login_long(client: ClientConnection, text: str) -> None:
    """Answer a login with a line that is too long, after +OK or the argument: `-ERR [AUTH]`."""
    await logins.serve(client, answer=logins.saying((text or "+OK").encode() + b" " + b"x" * 600 + b"\r\n"))


async def login_repeats(client: ClientConnection, _: str) -> None:
    """Refuse a login with what the client sent."""
    await logins.serve(client, answer=logins.repeating)


async def login_hostile(client: ClientConnection, _: str) -> None:
    """Refuse a login with control characters."""
    await logins.serve(client, answer=logins.saying(b"-ERR [IN-USE] \x1b[2J\xe2\x80\xae<script>\r\n"))


async def login_endless(client: ClientConnection, _: str) -> None:
    """Answer CAPA with lines without end."""
    await logins.serve(client, capabilities=(b"TOP",) * 10_000)


async def login_mailbox(client: ClientConnection, text: str) -> None:
    """Log in, and answer STAT with the argument."""
    await logins.serve(client, mailbox=text.encode() + b"\r\n")


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
    "offers": offers,
    "error": error,
    "say": say,
    "login": login,
    "login-old": login_old,
    "login-refused": login_refused,
    "login-slow": login_slow,
    "login-silent": login_silent,
    "login-close": login_close,
    "login-long": login_long,
    "login-repeats": login_repeats,
    "login-hostile": login_hostile,
    "login-endless": login_endless,
    "login-mailbox": login_mailbox,
    "no-crlf": greeting_with(b"+OK scripted POP3 ready"),
    "bare-lf": greeting_with(b"+OK scripted POP3 ready\n"),
    "nul": greeting_with(b"+OK scripted\0POP3 ready\r\n"),
    "latin1": greeting_with("+OK Grüße\r\n".encode("latin-1")),
    "hostile": greeting_with(b"+OK \x1b[2J\x1b]0;owned\x07 \xe2\x80\xae<script>\r\n"),
    "smtp": greeting_with(b"220 mail.example.net ESMTP ready\r\n"),
    "ftp": greeting_with(b"220 FTP server ready\r\n"),
    "imap": greeting_with(b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
    "ssh": greeting_with(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "http": greeting_with(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "tls-record": greeting_with(bytes.fromhex("15030300020246")),
}
"""Every script but `refused`, which closes the port."""


WITH_ESCAPES = ("reset", "close", "cut", "half-close")
r"""Scripts whose argument is sent without a line end; it may hold escapes such as `\r\n`."""


def find(script: str) -> tuple[Script, str]:
    """A script and its argument. Raises ScriptError."""
    name, _, argument = script.partition(":")
    if name not in SCRIPTS:
        raise ScriptError(f"There is no script {name!r}; there are refused, {', '.join(sorted(SCRIPTS))}.")
    if name in WITH_ESCAPES:
        argument = argument.encode().decode("unicode_escape")
    return SCRIPTS[name], argument
