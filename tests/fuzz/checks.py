"""What must hold whatever comes: one check for each reader of foreign bytes. Tests and `make fuzz` call the same ones.

A check takes any bytes, makes of them what it tests with, and raises AssertionError, or whatever the code raises.
"""

import json
from contextlib import suppress

from popwatch.items import from_item
from popwatch.outcomes import DETAIL_SHOWN, clean
from popwatch.pop3 import LONGEST_LINE, Conversation, Event, Failed, Finished, Greeted, TlsWanted
from popwatch.targets import parse_target
from popwatch.templates import TemplateError, fill

GREETINGS = (b"READY", b"\xff")
ENDS = (Finished, Failed)


def check_conversation(data: bytes) -> None:
    """The first byte chooses the options, the second the splits: the same events, bounded buffers, one end."""
    options, step, said = data[:1] or b"\0", data[1:2] or b"\1", data[2:]
    starttls, check_quit, foreign = bool(options[0] & 1), bool(options[0] & 2), bool(options[0] & 4)

    def conversation() -> Conversation:
        greetings = GREETINGS if foreign else ()
        return Conversation(starttls=starttls, check_quit=check_quit, greetings=greetings)

    whole, sent = _talk(conversation(), [said])
    size = step[0] % 64 + 1
    pieces, sent_in_pieces = _talk(conversation(), [said[at : at + size] for at in range(0, len(said), size)])
    if not any(isinstance(event, TlsWanted) for event in whole):  # what follows in one piece with it is an injection
        assert pieces == whole, (whole, pieces)
        assert sent_in_pieces == sent
    for events, out in ((whole, sent), (pieces, sent_in_pieces)):
        assert isinstance(events[-1], ENDS)
        assert sum(isinstance(event, ENDS) for event in events) == 1
        assert sum(isinstance(event, Greeted) for event in events) <= 1
        assert out in (b"", b"QUIT\r\n", b"STLS\r\n", b"STLS\r\nQUIT\r\n")
        assert all(len(event.line) <= LONGEST_LINE for event in events if not isinstance(event, TlsWanted))


def _talk(conversation: Conversation, pieces: list[bytes]) -> tuple[list[Event], bytes]:
    events: list[Event] = []
    sent = b""
    for piece in pieces:
        conversation.receive_data(piece)
        assert len(conversation._buffer) <= LONGEST_LINE
        while event := conversation.next_event():
            events.append(event)
            if isinstance(event, TlsWanted):
                conversation.tls_established()
        sent += conversation.data_to_send()
    conversation.receive_eof()
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


CHECKS = {"conversation": check_conversation, "item": check_item, "text": check_text}

SEEDS = {
    "conversation": (
        b"\0\1+OK ready\r\n+OK bye\r\n",
        b"\1\5+OK\r\n+OK go\r\n-ERR no\r\n",
        b"\4\3READY\n+OK\n",
        b"\0\2220 mail ESMTP\r\n",
        b"\0\2\x16\3\1\2",
        b"\2\7" + b"+" * 600,
    ),
    "item": (
        b'{"target_id": "a", "host": "pop.example.net", "port": "995", "tags": ["x"], "tls": "implicit"}',
        b'{"target_id": {"S": "a"}, "host": {"S": "fe80::1%eth0"}, "port": {"N": "1E+120"}, "tags": {"SS": ["x"]}}',
        b'{"host": "h", "maintenance": [{"days": "mon-fri", "from": "22:00", "until": "2:00", "timezone": "Iran"}]}',
        b'{"host": "h", "silence": {"from": "2026-11-24T20:00Z", "until": "2026-11-24T22:00Z"}, "email": "{name} {{"}',
    ),
    "text": (b"{name} is {state} {{}}", b"{host}" * 100, b"\xff\x1b[2J\r\n"),
}
"""Where fuzzing begins: bytes that reach far."""
