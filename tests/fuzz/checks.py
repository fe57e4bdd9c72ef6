"""What must hold whatever comes: one check for each reader of foreign bytes. Tests and `make fuzz` call the same ones.

A check takes any bytes, makes of them what it tests with, and raises AssertionError, or whatever the code raises.
"""

import json
from contextlib import suppress

from popwatch.alerts.templates import TemplateError, fill
from popwatch.aws.items import from_item
from popwatch.model.credentials import Credential, Mechanism, Secret
from popwatch.model.outcomes import DETAIL_SHOWN
from popwatch.model.targets import parse_target
from popwatch.model.text import clean
from popwatch.prober.login import Login
from popwatch.prober.pop3 import LONGEST_LINE, Conversation, Event, Failed, Finished, Greeted, LoginEnded, TlsWanted
from tests.fuzz.tables import check_tables

GREETINGS = (b"READY", b"\xff")
EXPECTED = (b"O*y", b"\xff")
ENDS = (Finished, Failed)
SENT = (b"", b"QUIT\r\n", b"STLS\r\n", b"STLS\r\nQUIT\r\n")
CHOICES = 5
SECRET = b"canary-7f1d"
SIZES = (1, 2, 3, 7, 60, LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1)
"""Of the pieces that bytes arrive in: what fits into a line, and what does not quite."""


class Verified:
    """A connection over which a login may be made."""

    verified = True


def check_conversation(data: bytes) -> None:
    """Any bytes, in one piece and in many: the same events and replies, one end, and a line's memory at most.

    A login sends its own commands, each once, and no line of the server that is kept repeats its secret.

    Five bytes choose: the options, the sizes of the pieces, where TLS begins, where a run of one letter is put in, and
    how long that is, so that short data make long lines. The others are what the server says.
    """
    options, sizes, tls_at, run_at, run = data[:CHOICES].ljust(CHOICES, b"\0")
    said = data[CHOICES:]
    said = said[:run_at] + b"x" * (6 * max(run - 128, 0)) + said[run_at:]
    plain, encrypted = said[:tls_at], said[tls_at:]
    steps = SIZES[sizes % 8], SIZES[sizes // 8 % 8]

    login = _login(options)
    events, sent = _talk(_conversation(options), login, [plain], [encrypted])
    again = _login(options)
    assert (events, sent) == _talk(_conversation(options), again, _cut(plain, steps), _cut(encrypted, steps))
    if login and again:
        _check_login(login, events, sent)
        assert login.result(repr) == again.result(repr)
    else:
        assert sent in (SENT if options & 1 else SENT[:2])
    *others, last = events
    assert isinstance(last, ENDS)
    assert not any(isinstance(event, ENDS) for event in others)
    assert sum(isinstance(event, Greeted) for event in others) <= 1
    assert all(len(event.line) < LONGEST_LINE for event in events if isinstance(event, (Greeted, Finished)))
    assert all(len(event.line) <= LONGEST_LINE for event in events if isinstance(event, Failed))


def _conversation(options: int) -> Conversation:
    greetings = GREETINGS if options & 4 else ()
    expected = EXPECTED if options & 8 else ()
    return Conversation(
        starttls=bool(options & 1), check_quit=bool(options & 2), greetings=greetings, expected=expected
    )


def _login(options: int) -> Login | None:
    if not options & 16:
        return None
    return Login(Credential("n", "anna", Secret(SECRET.decode()), list(Mechanism)[options >> 5 & 3]), Verified())


def _check_login(login: Login, events: list[Event], sent: bytes) -> None:
    commands = [line.partition(b" ")[0] for line in sent.split(b"\r\n")]
    for command in (b"STLS", b"CAPA", b"USER", b"PASS", b"APOP", b"AUTH", b"STAT", b"QUIT"):
        assert commands.count(command) <= 1
    others = set(commands) - {b"STLS", b"CAPA", b"USER", b"PASS", b"APOP", b"AUTH", b"STAT", b"QUIT", b""}
    assert all(command.startswith((b"AGFubmEA", b"dXNlcj1hbm5h")) for command in others)  # SASL responses in Base64
    assert len(others) <= 1
    secret_is_out = SECRET in sent or others or b"AUTH PLAIN " in sent
    assert not secret_is_out or b"CAPA" in commands
    assert sum(isinstance(event, LoginEnded) for event in events) == login.ended
    kept = [event.line for event in events if isinstance(event, Failed)] + [login.result(repr).said.encode()]
    assert not secret_is_out or not any(SECRET in line for line in kept)


def _cut(said: bytes, steps: tuple[int, int]) -> list[bytes]:
    """In pieces of the two sizes by turns; what is left after some is the last piece."""
    pieces: list[bytes] = []
    at, (step, next_step) = 0, steps
    while at < len(said) and len(pieces) < 15:
        pieces.append(said[at : at + step])
        at, step, next_step = at + step, next_step, step
    return [*pieces, said[at:]]


def _talk(
    conversation: Conversation, login: Login | None, plain: list[bytes], encrypted: list[bytes]
) -> tuple[list[Event], bytes]:
    """All events and all that was sent. TLS is established where the plain bytes end, if it was wanted and may be.

    A conversation that wants no TLS, and a login, is one in TLS from the beginning.
    """
    events: list[Event] = []
    sent = b""
    if login and not conversation._starttls:
        conversation.tls_established(login)
    for pieces in (plain, encrypted):
        for piece in pieces:
            conversation.receive_data(piece)
            assert len(conversation._buffer) <= LONGEST_LINE
            assert b"\n" not in conversation._buffer
            while event := conversation.next_event():
                events.append(event)
            sent += conversation.data_to_send()
        if events and isinstance(events[-1], TlsWanted):
            conversation.tls_established(login)
    conversation.receive_eof()
    conversation.receive_data(b"+OK\r\n")
    assert not conversation.in_mid_line
    while event := conversation.next_event():
        events.append(event)
    return events, sent + conversation.data_to_send()


def check_item(data: bytes) -> None:
    """JSON, as a message has it or in DynamoDB's own form, becomes a target with a host or a problem."""
    try:
        item = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(item, dict):
        check_fields(item)
        try:
            stored = from_item(item)
        except Exception:  # no DynamoDB sends such an item
            return
        check_fields(stored)


def check_fields(item: dict[str, object]) -> None:
    """An item's fields, whoever wrote them."""
    target = parse_target(item, item)
    assert target.host or target.problems
    assert all(problem.explanation.isprintable() and len(problem.explanation) < 1000 for problem in target.problems)
    again = parse_target(target.fields)
    assert (again.host, again.policy) == (target.host, target.policy)


def check_text(data: bytes) -> None:
    """A template with any values is filled within its limit or refused; what was said is cleaned to one short line."""
    text = data.decode("utf-8", "replace") + data.decode("latin-1")
    with suppress(TemplateError):
        assert len(fill(text, {"name": text, "host": text * 10}, 500)) <= 500
    shown = clean(data, DETAIL_SHOWN)
    assert len(shown) <= DETAIL_SHOWN
    assert shown.isprintable()


CHECKS = {"conversation": check_conversation, "item": check_item, "text": check_text, "tables": check_tables}

SEEDS = {
    "conversation": (
        b"\0\0\xff\0\0+OK ready\r\n+OK bye\r\n",
        b"\1\x0c\x0e\0\0+OK ready\r\n+OK go\r\n+OK bye\r\n",
        b"\1\1\xff\0\0+OK\n-ERR no\r\n",
        b"\2\x09\xff\4\xd4+OK \r\n-ERR no\r\n",
        b"\6\2\xff\0\0READY\r\n+OK\n",
        b"\0\x1a\xff\0\0-ERR [SYS/TEMP] busy\r\n",
        b"\0\1\xff\0\x90220 mail ESMTP\r\n",
        b"\0\2\xff\0\0220 ProFTPD\r\n",
        b"\0\3\xff\0\0* OK IMAP4rev1\n",
        b"\0\4\xff\0\0SSH-2.0\r\n",
        b"\0\5\xff\0\0HTTP/1.1 400\r\n",
        b"\0\0\xff\0\0+OK \0\r\n",
        b"\0\0\xff\0\0\x16\3\1\2\0",
        b"\x12\0\0\0\0+OK\r\n+OK\r\nAUTH-RESP-CODE\r\n.\r\n+OK\r\n+OK\r\n+OK 3 4\r\n+OK\r\n",
        b"\x12\0\0\0\0+OK\r\n-ERR\r\n+OK\r\n-ERR [IN-USE] canary-7f1d\r\n",
        b"\x32\0\0\0\0+OK <1@x>\r\n-ERR\r\n-ERR [SYS/TEMP]\r\n",
        b"\x53\0\x0a\0\0+OK\r\n+OK\r\n+OK\r\nSASL PLAIN\r\n.\r\n+ \r\n-ERR [AUTH]\r\n",
        b"\x72\0\0\0\0+OK\r\n-ERR\r\n+ \r\n+ e30=\r\n-ERR canary-7f1d\r\n",
    ),
    "item": (
        b'{"target_id": "a", "host": "pop.example.net", "port": "995", "tags": ["x"], "tls": "implicit"}',
        b'{"target_id": {"S": "a"}, "host": {"S": "fe80::1%eth0"}, "port": {"N": "1E+120"}, "tags": {"SS": ["x"]}}',
        b'{"host": "h", "maintenance": [{"days": "mon-fri", "from": "22:00", "until": "2:00", "timezone": "Iran"}]}',
        b'{"host": "h", "silence": {"from": "2026-11-24T20:00Z", "until": "2026-11-24T22:00Z"}, "email": "{name} {{"}',
    ),
    "tables": (b"any bytes choose what is damaged",),
    "text": (b"{name} is {state} {{}}", b"{host}" * 100, b"\xff\x1b[2J\r\n"),
}
"""Where fuzzing begins: bytes that reach far."""
