"""The conversation: the meaning of each line, the limits of the buffer, and that any split gives the same events."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.prober.pop3 import LONGEST_LINE, Conversation, Event, Failed, FailureKind, Finished, Greeted, TlsWanted

PROTOCOL, DISCONNECTED = FailureKind.PROTOCOL, FailureKind.DISCONNECTED


def events_of(conversation: Conversation) -> list[Event]:
    events: list[Event] = []
    while event := conversation.next_event():
        events.append(event)
    return events


def talk(*chunks: bytes, eof: bool = True, **options: Any) -> tuple[list[Event], bytes]:
    """The events and all that was sent, for bytes that arrive in these chunks."""
    conversation = Conversation(**options)
    events: list[Event] = []
    sent = b""
    for chunk in chunks:
        conversation.receive_data(chunk)
        for event in events_of(conversation):
            events.append(event)
            if isinstance(event, TlsWanted):
                conversation.tls_established()
        sent += conversation.data_to_send()
    if eof:
        conversation.receive_eof()
    return events + events_of(conversation), sent


def failure(said: bytes, **options: Any) -> tuple[FailureKind, str]:
    last = talk(said, **options)[0][-1]
    assert isinstance(last, Failed)
    return last.kind, last.reason


def test_greeting_then_quit_then_reply() -> None:
    """A test that passes: QUIT is sent after the greeting, and its reply ends the conversation."""
    events, sent = talk(b"+OK ready\r\n", b"+OK bye\r\n")
    assert events == [Greeted(b"+OK ready"), Finished(b"+OK bye")]
    assert sent == b"QUIT\r\n"


def test_without_check_quit_the_greeting_is_enough() -> None:
    """QUIT is still sent; its reply is not awaited."""
    events, sent = talk(b"+OK ready\r\n", check_quit=False)
    assert events == [Greeted(b"+OK ready"), Finished(b"")]
    assert sent == b"QUIT\r\n"


def test_stls_comes_before_quit() -> None:
    """STLS, its reply, TLS, then QUIT without a second greeting (RFC 2595 section 4)."""
    events, sent = talk(b"+OK ready\r\n", b"+OK go\r\n", b"+OK bye\r\n", starttls=True)
    assert events == [Greeted(b"+OK ready"), TlsWanted(), Finished(b"+OK bye")]
    assert sent == b"STLS\r\nQUIT\r\n"


@pytest.mark.parametrize(
    "greeting", [b"+OK\r\n", b"+OK \r\n", b"+OK ready\n", b"+OK\tready\r\n", b"+OK<1896.697@x>\r\n"]
)
def test_good_greetings(greeting: bytes) -> None:
    """`+OK`, alone or followed by anything but a letter or digit, ended by CRLF or a bare LF."""
    assert talk(greeting, b"+OK\r\n")[0][-1] == Finished(b"+OK")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"-ERR [SYS/TEMP] busy\r\n", "service-unavailable"),
        (b"-ERR\r\n", "service-unavailable"),
        (b"220 mail ESMTP\r\n", "smtp-greeting"),
        (b"220 ProFTPD Server\r\n", "ftp-greeting"),
        (b"220 ready\r\n", "smtp-or-ftp-greeting"),
        (b"554 no\r\n", "smtp-or-ftp-greeting"),
        (b"* OK IMAP4rev1\r\n", "imap-greeting"),
        (b"* BYE busy\r\n", "imap-greeting"),
        (b"SSH-2.0-OpenSSH\r\n", "ssh-greeting"),
        (b"HTTP/1.1 400 Bad Request\r\n", "http-greeting"),
        (b"<!DOCTYPE html>\r\n", "http-greeting"),
        (b"+OKAY\r\n", "unexpected-greeting"),
        (b"+ok ready\r\n", "unexpected-greeting"),
        (b" +OK ready\r\n", "unexpected-greeting"),
        (b"\r\n", "unexpected-greeting"),
        (b"+OK re\0ady\r\n", "not-text"),
        (b"\0\0\0\r\n", "not-text"),
        (bytes.fromhex("15030300020246"), "tls-on-plain-port"),
        (b"x" * (LONGEST_LINE + 1), "overlong-line"),
        (b"+OK " + b"x" * 600 + b"\r\n", "overlong-line"),
    ],
)
def test_bad_greetings(said: bytes, reason: str) -> None:
    """Each fails at once, with a reason that names the likely mistake; QUIT is still sent."""
    events, sent = talk(said, eof=False)
    assert [(event.kind, event.reason) for event in events if isinstance(event, Failed)] == [(PROTOCOL, reason)]
    assert sent == b"QUIT\r\n"


def test_longest_line_is_512_octets_with_its_end() -> None:
    """RFC 1939 section 3: 512 fit, 513 do not."""
    fits = b"+OK " + b"x" * (LONGEST_LINE - 6) + b"\r\n"
    assert isinstance(talk(fits, eof=False)[0][0], Greeted)
    assert failure(b"+OK x" + b"x" * (LONGEST_LINE - 6) + b"\r\n") == (PROTOCOL, "overlong-line")


@pytest.mark.parametrize(
    ("chunks", "options", "kind", "reason"),
    [
        ([b""], {}, DISCONNECTED, "closed-before-greeting"),
        ([b"+OK re"], {}, DISCONNECTED, "closed-mid-line"),
        ([b"+OK\r\n"], {}, DISCONNECTED, "closed-before-quit-reply"),
        ([b"+OK\r\n", b"+O"], {}, DISCONNECTED, "closed-mid-line"),
        ([b"+OK\r\n", b"-ERR no\r\n"], {}, PROTOCOL, "quit-refused"),
        ([b"+OK\r\n", b"bye\r\n"], {}, PROTOCOL, "unexpected-reply"),
        ([b"+OK\r\n", b"x" * 600], {}, PROTOCOL, "overlong-line"),
        ([b"+OK\r\n"], {"starttls": True}, DISCONNECTED, "closed-before-stls-reply"),
        ([b"+OK\r\n", b"-ERR no TLS\r\n"], {"starttls": True}, PROTOCOL, "stls-refused"),
        ([b"+OK\r\n", b"what\r\n"], {"starttls": True}, PROTOCOL, "unexpected-reply"),
        ([b"+OK\r\n", b"+OK go\r\n+OK injected\r\n"], {"starttls": True}, PROTOCOL, "stls-injection"),
        ([b"+OK\r\n", b"+OK go\r\n+"], {"starttls": True}, PROTOCOL, "stls-injection"),
    ],
)
def test_later_failures(chunks: list[bytes], options: dict[str, Any], kind: FailureKind, reason: str) -> None:
    """Failures after the greeting, and streams that end."""
    last = talk(*chunks, **options)[0][-1]
    assert isinstance(last, Failed)
    assert (last.kind, last.reason) == (kind, reason)


def test_plain_bytes_after_stls_are_never_taken_for_encrypted() -> None:
    """Bytes after the reply to STLS and before TLS fail the test, in whatever segment they arrive."""
    conversation = Conversation(starttls=True)
    conversation.receive_data(b"+OK\r\n")
    conversation.receive_data(b"+OK go\r\n")
    conversation.receive_data(b"+OK injected\r\n")
    last = events_of(conversation)[-1]
    assert isinstance(last, Failed)
    assert last.reason == "stls-injection"


def test_own_greetings_are_accepted_besides_ok() -> None:
    """A prefix of the target's field `greeting` passes, `+OK` too, and nothing else."""
    own: dict[str, Any] = {"greetings": (b"READY", b"220 ")}
    assert talk(b"READY x\r\n", b"+OK\r\n", **own)[0][-1] == Finished(b"+OK")
    assert talk(b"220 x\r\n", b"+OK\r\n", **own)[0][-1] == Finished(b"+OK")
    assert talk(b"+OK\r\n", b"+OK\r\n", **own)[0][-1] == Finished(b"+OK")
    assert failure(b"ready x\r\n", **own) == (PROTOCOL, "unexpected-greeting")


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        ((), b""),
        ((b"Dovecot",), b""),
        ((b"+OK",), b""),
        ((b"+OK*ready.",), b""),
        ((b"Dovecot", b"mail.example"), b""),
        ((b"*",), b""),
        ((b"mail*mail*",), b"mail*mail*"),
        ((b"dovecot",), b"dovecot"),
        ((b"Dovecot", b"cyrus", b"other"), b"cyrus"),
        ((b"ready*Dovecot",), b"ready*Dovecot"),
        ((b"ready.\r",), b"ready.\r"),
    ],
)
def test_expected_texts(expected: tuple[bytes, ...], missing: bytes) -> None:
    """The greeting must contain each of them; the parts of one around `*` in their order. What is missing is named."""
    events, sent = talk(b"+OK mail.example Dovecot ready.\r\n", b"+OK\r\n", expected=expected)
    if not missing:
        assert events[-1] == Finished(b"+OK")
    else:
        line = b"+OK mail.example Dovecot ready."
        assert events == [Failed(PROTOCOL, "expected-text-missing", line, missing)]
    assert sent == b"QUIT\r\n"


def test_an_expected_text_replaces_no_greeting() -> None:
    """It comes on top of `+OK`, or of another greeting that is accepted; what is not a greeting keeps its reason."""
    both: dict[str, Any] = {"expected": (b"mail",), "greetings": (b"READY",)}
    assert failure(b"220 mail ESMTP\r\n", **both) == (PROTOCOL, "smtp-greeting")
    assert failure(b"+OK ma\0il\r\n", **both) == (PROTOCOL, "not-text")
    assert failure(b"READY now\r\n", **both) == (PROTOCOL, "expected-text-missing")
    assert talk(b"READY mail\r\n", b"+OK\r\n", **both)[0][-1] == Finished(b"+OK")


def test_two_replies_in_one_segment_are_greeting_and_reply() -> None:
    """A server that replies to QUIT before it is sent has sent everything that the test needs."""
    assert talk(b"+OK ready\r\n+OK bye\r\n")[0] == [Greeted(b"+OK ready"), Finished(b"+OK bye")]


LINES = st.sampled_from(
    [
        *(b"+OK ready\r\n", b"+OK\n", b"-ERR [IN-USE] x\r\n", b"220 x\r\n", b"* OK\r\n"),
        *(b"\0\r\n", b"x" * 700, b"+O", b"\r", b"\n", b"\x16\x03\x01"),
    ]
)


@given(
    said=st.lists(st.one_of(LINES, st.binary(max_size=40)), max_size=6).map(b"".join),
    cuts=st.lists(st.integers(0, 4000), max_size=30),
    starttls=st.booleans(),
    check_quit=st.booleans(),
)
def test_any_split_of_the_bytes_gives_the_same_events(
    said: bytes, cuts: list[int], starttls: bool, check_quit: bool
) -> None:
    """In one piece, byte by byte, or in any pieces: the same events in the same order, and the same bytes sent."""
    options: dict[str, object] = {"starttls": starttls, "check_quit": check_quit}
    places = [0, *sorted(place for place in cuts if place < len(said)), len(said)]
    pieces = [said[first:last] for first, last in pairwise(places)]
    whole = _until_tls(said, **options)
    assert _until_tls(*pieces, **options) == whole
    assert _until_tls(*(said[n : n + 1] for n in range(len(said))), **options) == whole


def _until_tls(*chunks: bytes, **options: Any) -> tuple[list[Event], bytes]:
    """As `talk`, but TLS is not established: bytes after the reply to STLS are an injection in any split."""
    conversation = Conversation(**options)
    for chunk in chunks:
        conversation.receive_data(chunk)
    conversation.receive_eof()
    return events_of(conversation), conversation.data_to_send()


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=20))
def test_garbage_ends_in_at_most_one_failure(chunks: list[bytes]) -> None:
    """Any bytes: no exception, exactly one end, and a buffer of at most one line."""
    conversation = Conversation(greetings=(b"",))
    for chunk in chunks:
        conversation.receive_data(chunk)
        assert len(vars(conversation)["_buffer"]) <= LONGEST_LINE + 1
    conversation.receive_eof()
    ends = [event for event in events_of(conversation) if isinstance(event, Failed | Finished)]
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("chunks", "options", "event"),
    [
        ([b"220 mail ESMTP\r\n"], {}, Failed(PROTOCOL, "smtp-greeting", b"220 mail ESMTP")),
        ([b"+OK re"], {}, Failed(DISCONNECTED, "closed-mid-line", b"+OK re")),
        ([b"x" * 600], {}, Failed(PROTOCOL, "overlong-line", b"x" * LONGEST_LINE)),
        ([b"\x16\x03\x01\x02\0"], {}, Failed(PROTOCOL, "tls-on-plain-port", b"\x16\x03\x01")),
        ([b"\x15\x03\x01\0\x02\n"], {}, Failed(PROTOCOL, "tls-on-plain-port", b"\x15\x03\x01")),
        ([b"+OK\n", b"+OK\n+OK go\n"], {"starttls": True}, Failed(PROTOCOL, "stls-injection", b"")),
    ],
)
def test_failure_shows_what_was_seen(chunks: list[bytes], options: dict[str, Any], event: Failed) -> None:
    """The line without its end, cut to 512 octets; for TLS its first bytes; for an injection nothing."""
    assert talk(*chunks, **options)[0][-1] == event


def test_injection_in_a_segment_of_its_own_shows_nothing_either() -> None:
    """The failure is the same whether the bytes arrive with the reply to STLS or after it."""
    assert _until_tls(b"+OK\n", b"+OK go\n", b"+OK\n", starttls=True)[0][-1] == Failed(PROTOCOL, "stls-injection", b"")


def test_line_is_overlong_once_more_than_512_octets_have_arrived() -> None:
    """After 512 octets without a line end the stream may still end."""
    assert failure(b"+OK " + b"x" * (LONGEST_LINE - 4)) == (DISCONNECTED, "closed-mid-line")
    assert failure(b"+OK " + b"x" * (LONGEST_LINE - 3)) == (PROTOCOL, "overlong-line")


def test_empty_line_is_a_line() -> None:
    """A bare LF is not a greeting, and fails at once."""
    assert talk(b"\n", eof=False)[0] == [Failed(PROTOCOL, "unexpected-greeting", b"")]


def test_only_a_greeting_can_be_tls_on_a_plain_port() -> None:
    """Bytes that look like TLS in a later reply are a line without its end."""
    assert talk(b"+OK\r\n", b"\x16\x03\x01\x02")[0][-1] == Failed(DISCONNECTED, "closed-mid-line", b"\x16\x03\x01\x02")


def test_segment_may_be_longer_than_a_line() -> None:
    """Two long lines in one segment are both read to their ends."""
    ready, bye = b"+OK " + b"x" * 500, b"+OK " + b"y" * 500
    assert talk(ready + b"\r\n" + bye + b"\r\n")[0] == [Greeted(ready), Finished(bye)]


@pytest.mark.parametrize("then", ["refused", "established"])
def test_bytes_to_send_are_kept_in_order(then: str) -> None:
    """A caller that takes the bytes to send only once gets all of them, in order."""
    conversation = Conversation(starttls=True)
    conversation.receive_data(b"+OK ready\r\n")
    if then == "refused":
        conversation.receive_data(b"-ERR no\r\n")
    else:
        conversation.receive_data(b"+OK go ahead\r\n")
        conversation.tls_established()
    assert conversation.data_to_send() == b"STLS\r\nQUIT\r\n"


def test_nothing_is_unfinished_after_the_end() -> None:
    """Bytes after the last line are dropped."""
    conversation = Conversation()
    conversation.receive_data(b"+OK ready\r\n+OK bye\r\nand")
    conversation.receive_data(b"more")
    assert not conversation.in_mid_line
