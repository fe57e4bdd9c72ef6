"""The login of a test: what is sent, what each answer means, and that no secret is sent or shown where it must not."""

import base64
import codecs
import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.credentials import Credential, Mechanism, Secret
from popwatch.model.outcomes import LoginResult, LoginVerdict
from popwatch.model.serialization import deserialize, serialize
from popwatch.prober.login import ALL_HIDDEN, HIDDEN, Login, UnverifiedError
from popwatch.prober.pop3 import Conversation, Event, Failed, FailureKind, Finished, Greeted, LoginEnded, TlsWanted

PASSWORD = "canary-7f1d"
TOKEN = "eyJ0eXAi.canary-token-0123456789"
GREETING = b"+OK ready <17.4@pop.example.net>\r\n"
CAPABLE = b"+OK\r\nSASL PLAIN XOAUTH2\r\nAUTH-RESP-CODE\r\nLOGIN-DELAY 60\r\n.\r\n"
BARE = b"-ERR unknown command\r\n"
PLAIN = base64.b64encode(f"\0anna\0{PASSWORD}".encode())
BEARER = base64.b64encode(f"user=anna\1auth=Bearer {TOKEN}\1\1".encode())
IN = b"+OK\r\n"


class Verified:
    verified = True


class Unverified:
    verified = False


def login(mechanism: Mechanism = Mechanism.USER, user: str = "anna", secret: str = "") -> Login:
    chosen = secret or (TOKEN if mechanism is Mechanism.XOAUTH2 else PASSWORD)
    return Login(Credential("n", user, Secret(chosen), mechanism), Verified())


def talk(
    dialogue: Login | None, *chunks: bytes, starttls: bool = False, eof: bool = False
) -> tuple[list[Event], bytes]:
    """The events and all that was sent, for bytes that arrive in these chunks after TLS was established."""
    conversation = Conversation(starttls=starttls)
    if not starttls:
        conversation.tls_established(dialogue)
    events: list[Event] = []
    sent = b""
    for chunk in chunks:
        conversation.receive_data(chunk)
        while event := conversation.next_event():
            events.append(event)
            if isinstance(event, TlsWanted):
                conversation.tls_established(dialogue)
        sent += conversation.data_to_send()
    if eof:
        conversation.receive_eof()
        while event := conversation.next_event():
            events.append(event)
    return events, sent


def result(dialogue: Login) -> LoginResult:
    return dialogue.result(lambda line: line.decode())


def test_no_login_is_made_without_verified_tls() -> None:
    """It cannot even be constructed; a conversation in which TLS was not established sends QUIT and no more."""
    with pytest.raises(UnverifiedError):
        Login(Credential("n", "anna", Secret(PASSWORD)), Unverified())
    conversation = Conversation()
    conversation.receive_data(GREETING + IN)
    assert conversation.data_to_send() == b"QUIT\r\n"


@pytest.mark.parametrize(
    ("mechanism", "capa", "answers", "commands"),
    [
        (Mechanism.USER, CAPABLE, [IN, IN], [b"USER anna", b"PASS " + PASSWORD.encode()]),
        (Mechanism.USER, BARE, [IN, IN], [b"USER anna", b"PASS " + PASSWORD.encode()]),
        (
            Mechanism.APOP,
            BARE,
            [IN],
            [b"APOP anna " + hashlib.md5(b"<17.4@pop.example.net>" + PASSWORD.encode()).hexdigest().encode()],
        ),
        (Mechanism.PLAIN, CAPABLE, [IN], [b"AUTH PLAIN " + PLAIN]),
        (Mechanism.PLAIN, BARE, [b"+ \r\n", IN], [b"AUTH PLAIN", PLAIN]),
        (Mechanism.PLAIN, BARE, [b"+\r\n", IN], [b"AUTH PLAIN", PLAIN]),
        (Mechanism.PLAIN, CAPABLE, [b"+ \r\n", IN], [b"AUTH PLAIN " + PLAIN, PLAIN]),
        (Mechanism.XOAUTH2, CAPABLE, [b"+ \r\n", IN], [b"AUTH XOAUTH2", BEARER]),
        (Mechanism.XOAUTH2, BARE, [b"+ \r\n", IN], [b"AUTH XOAUTH2", BEARER]),
    ],
)
@pytest.mark.parametrize("starttls", [False, True])
def test_each_mechanism(
    mechanism: Mechanism, capa: bytes, answers: list[bytes], commands: list[bytes], starttls: bool
) -> None:
    """The commands of each, with and without CAPA; then STAT, whose figures are kept, and QUIT. Nothing else."""
    dialogue = login(mechanism)
    stls = [IN] if starttls else []
    events, sent = talk(
        dialogue, GREETING, *stls, capa, *answers, b"+OK 3 12345\r\n", b"+OK bye\r\n", starttls=starttls
    )
    before = [b"STLS"] if starttls else []
    assert sent.split(b"\r\n") == [*before, b"CAPA", *commands, b"STAT", b"QUIT", b""]
    assert events[-2:] == [LoginEnded(), Finished(b"+OK bye")]
    delay = 60 if capa is CAPABLE else 0
    assert result(dialogue) == LoginResult(LoginVerdict.PASSED, 3, 12345, delay)


@pytest.mark.parametrize(("octets", "fits"), [(10**15 - 1, True), (10**15, False)])
def test_a_mailbox_that_is_read_can_be_stored(octets: int, fits: bool) -> None:
    """A number of more digits is not one of a mailbox."""
    dialogue = login()
    talk(dialogue, GREETING, b"-ERR\r\n", b"+OK\r\n", b"+OK\r\n", b"+OK 3 %d\r\n" % octets)
    found = result(dialogue)
    assert found.octets == (octets if fits else None)
    assert deserialize(LoginResult, serialize(found)) == found


def test_a_long_response_of_plain_has_a_line_of_its_own() -> None:
    """A command has at most 255 octets (RFC 2449 section 4), a response may have more."""
    _, sent = talk(login(Mechanism.PLAIN, secret="s" * 250), GREETING, CAPABLE, b"+ \r\n")
    command, response, _ = sent.removeprefix(b"CAPA\r\n").split(b"\r\n")
    assert command == b"AUTH PLAIN"
    assert base64.b64decode(response) == b"\0anna\0" + b"s" * 250


RESP = b"+OK\r\nAUTH-RESP-CODE\r\nSASL PLAIN XOAUTH2\r\n.\r\n"
OLD = b"+OK\r\nUSER\r\nSASL PLAIN XOAUTH2\r\n.\r\n"


@pytest.mark.parametrize(
    ("answer", "capa", "verdict", "reason"),
    [
        (b"-ERR [IN-USE] locked", RESP, LoginVerdict.IN_USE, ""),
        (b"-ERR [in-use]", OLD, LoginVerdict.IN_USE, ""),
        (b"-ERR [LOGIN-DELAY] too soon", BARE, LoginVerdict.LOGIN_DELAY, ""),
        (b"-ERR [AUTH] no", RESP, LoginVerdict.REJECTED, ""),
        (b"-ERR  [AUTH]", BARE, LoginVerdict.REJECTED, ""),
        (b"-ERR [AUTH/EXPIRED] no", RESP, LoginVerdict.REJECTED, ""),
        (b"-ERR [AUTHORITY] no", RESP, LoginVerdict.FAILED, "login-failed"),
        (b"-ERR [SYS/TEMP] later", RESP, LoginVerdict.FAILED, "login-sys-temp"),
        (b"-ERR [SYS/PERM] gone", OLD, LoginVerdict.FAILED, "login-sys-perm"),
        (b"-ERR [SYS] gone", OLD, LoginVerdict.FAILED, "login-sys-perm"),
        (b"-ERR [SYS/TEMP/DB] later", OLD, LoginVerdict.FAILED, "login-sys-temp"),
        (b"-ERR no", RESP, LoginVerdict.FAILED, "login-failed"),
        (b"-ERR [X-OTHER] no", RESP, LoginVerdict.FAILED, "login-failed"),
        (b"-ERR no", OLD, LoginVerdict.UNCLEAR, "login-refused"),
        (b"-ERR", BARE, LoginVerdict.UNCLEAR, "login-refused"),
        (b"-ERR the [AUTH] server", OLD, LoginVerdict.UNCLEAR, "login-refused"),
        (b"-ERR [AUTH no", OLD, LoginVerdict.UNCLEAR, "login-refused"),
        (b"-ERR [] no", OLD, LoginVerdict.UNCLEAR, "login-refused"),
        (b"-ERR [UTF8] no", OLD, LoginVerdict.UNCLEAR, "login-refused"),
        (b"no", RESP, LoginVerdict.UNCLEAR, "unexpected-reply"),
        (b"-err [AUTH] no", RESP, LoginVerdict.UNCLEAR, "unexpected-reply"),
        (b"* BYE", OLD, LoginVerdict.UNCLEAR, "unexpected-reply"),
        (b"", OLD, LoginVerdict.UNCLEAR, "unexpected-reply"),
        (b"+OKAY", RESP, LoginVerdict.UNCLEAR, "unexpected-reply"),
    ],
)
@pytest.mark.parametrize("mechanism", Mechanism)
def test_each_refusal(answer: bytes, capa: bytes, verdict: LoginVerdict, reason: str, mechanism: Mechanism) -> None:
    """By response code, and without one by what the server says it offers; QUIT is sent in any case."""
    dialogue = login(mechanism)
    before = {Mechanism.USER: [IN], Mechanism.XOAUTH2: [b"+ \r\n"]}.get(mechanism, [])
    if mechanism is Mechanism.PLAIN and capa is BARE:
        before = [b"+ \r\n"]
    events, sent = talk(dialogue, GREETING, capa, *before, answer + b"\r\n")
    assert sent.endswith(b"QUIT\r\n")
    assert result(dialogue).verdict is verdict
    if reason:
        assert events[-1] == Failed(FailureKind.PROTOCOL, reason, dialogue.hide(answer))
    else:
        assert events[-2:] == [LoginEnded(), Finished(b"")]
        assert result(dialogue).said == dialogue.hide(answer).decode()
    assert verdict.counts_against_credential == (verdict in ("rejected", "unclear"))


def test_user_can_be_refused_before_the_password() -> None:
    """A refusal of USER is judged like one of PASS, and no password is sent."""
    dialogue = login()
    _, sent = talk(dialogue, GREETING, RESP, b"-ERR [AUTH] no such user\r\n")
    assert PASSWORD.encode() not in sent
    assert result(dialogue).verdict is LoginVerdict.REJECTED


@pytest.mark.parametrize(
    ("mechanism", "greeting", "capa", "answers"),
    [
        (Mechanism.APOP, b"+OK ready\r\n", RESP, []),
        (Mechanism.APOP, b"+OK <no-at-sign>\r\n", RESP, []),
        (Mechanism.PLAIN, GREETING, b"+OK\r\nSASL LOGIN\r\n.\r\n", []),
        (Mechanism.XOAUTH2, GREETING, b"+OK\r\n.\r\n", []),
    ],
)
def test_a_mechanism_that_is_not_offered(
    mechanism: Mechanism, greeting: bytes, capa: bytes, answers: list[bytes]
) -> None:
    """The test fails, and the server sees neither user nor secret."""
    dialogue = login(mechanism)
    events, sent = talk(dialogue, greeting, capa, *answers)
    assert isinstance(events[-1], Failed)
    assert events[-1].reason == "mechanism-not-offered"
    assert sent == b"CAPA\r\nQUIT\r\n"
    assert result(dialogue).verdict is LoginVerdict.FAILED


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.XOAUTH2])
def test_auth_that_is_not_known_is_no_attempt(mechanism: Mechanism) -> None:
    """A bare refusal of AUTH before the response is not an attempt with the credential: it was not sent."""
    dialogue = login(mechanism)
    events, sent = talk(dialogue, GREETING, BARE, b"-ERR unknown mechanism\r\n")
    assert isinstance(events[-1], Failed)
    assert events[-1].reason == "login-failed"
    assert result(dialogue).verdict is LoginVerdict.FAILED
    assert sent == f"CAPA\r\nAUTH {mechanism.value.upper()}\r\nQUIT\r\n".encode()


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (b"-ERR Authentication failed.", LoginVerdict.REJECTED, ""),
        (b"-ERR [AUTH] bad token", LoginVerdict.REJECTED, ""),
        (b"-ERR [SYS/TEMP] later", LoginVerdict.FAILED, "login-sys-temp"),
        (b"+ again", LoginVerdict.UNCLEAR, "unexpected-reply"),
    ],
)
def test_a_token_that_is_refused(answer: bytes, verdict: LoginVerdict, reason: str) -> None:
    """A challenge says why; an empty line is the answer to it, and then the refusal comes."""
    dialogue = login(Mechanism.XOAUTH2)
    challenge = b"+ " + base64.b64encode(b'{"status":"401"}') + b"\r\n"
    events, sent = talk(dialogue, GREETING, OLD, b"+ \r\n", challenge, answer + b"\r\n")
    assert sent == b"CAPA\r\nAUTH XOAUTH2\r\n" + BEARER + b"\r\n\r\nQUIT\r\n"
    assert result(dialogue).verdict is verdict
    last = events[-1]
    assert (last.reason if isinstance(last, Failed) else "") == reason


@pytest.mark.parametrize(
    ("chunks", "kind", "reason"),
    [
        ([], FailureKind.DISCONNECTED, "closed-before-login-reply"),
        ([b"+OK\r\nTOP\r\n"], FailureKind.DISCONNECTED, "closed-before-login-reply"),
        ([b"+OK\r\nTO"], FailureKind.DISCONNECTED, "closed-mid-line"),
        ([b"+OK\r\n" + b"TOP\r\n" * 200], FailureKind.PROTOCOL, "too-many-capabilities"),
        ([b"x" * 600], FailureKind.PROTOCOL, "overlong-line"),
        ([b"hello\r\n"], FailureKind.PROTOCOL, "unexpected-reply"),
        ([RESP, b"+ \r\n"], FailureKind.PROTOCOL, "unexpected-reply"),
        ([RESP, IN], FailureKind.DISCONNECTED, "closed-before-login-reply"),
        ([RESP, IN, IN, b"-ERR no\r\n"], FailureKind.PROTOCOL, "stat-refused"),
        ([RESP, IN, IN, b"+OK\r\n"], FailureKind.PROTOCOL, "unexpected-reply"),
        ([RESP, IN, IN, b"+OK 1 -2\r\n"], FailureKind.PROTOCOL, "unexpected-reply"),
        ([RESP, IN, IN, b"+OK 1 " + b"9" * 100 + b"\r\n"], FailureKind.PROTOCOL, "unexpected-reply"),
        ([RESP, IN, IN, b"+OK 1 2\r\n"], FailureKind.DISCONNECTED, "closed-before-quit-reply"),
        ([RESP, IN, IN, b"+OK 1 2\r\n", b"-ERR no\r\n"], FailureKind.PROTOCOL, "quit-refused"),
    ],
)
def test_servers_that_fail_at_the_login(chunks: list[bytes], kind: FailureKind, reason: str) -> None:
    """Closed, hostile, or broken at any step."""
    last = talk(login(), GREETING, *chunks, eof=True)[0][-1]
    assert isinstance(last, Failed)
    assert (last.kind, last.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("chunks", "verdict", "unanswered"),
    [
        ([b"-ERR [AUTH] " + b"x" * 600], LoginVerdict.UNCLEAR, False),
        ([b"-ERR [AUTH] wrong pass"], LoginVerdict.UNCLEAR, False),
        ([b"-"], LoginVerdict.UNCLEAR, False),
        ([b"* B", b"YE"], LoginVerdict.UNCLEAR, False),
        ([b"+OK " + b"x" * 600], LoginVerdict.FAILED, True),
        ([b"+O"], LoginVerdict.FAILED, True),
        ([b"-", b"ERR [SYS/TEMP] later\r\n"], LoginVerdict.FAILED, False),
        ([], LoginVerdict.FAILED, True),
    ],
)
def test_a_reply_that_is_broken_is_a_refusal(chunks: list[bytes], verdict: LoginVerdict, unanswered: bool) -> None:
    """Whoever says anything to a password has seen it, and may have counted it."""
    dialogue = login()
    talk(dialogue, GREETING, RESP, IN, *chunks, eof=True)
    found = result(dialogue)
    assert (found.verdict, found.unanswered) == (verdict, unanswered)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"-E"],
        [RESP, b"* BYE\r\n"],
        [RESP, b"-ER"],
        [RESP, IN, IN, b"-ER"],
        [RESP, IN, IN, b"what\r\n"],
    ],
)
def test_a_broken_reply_to_another_command_is_no_attempt(chunks: list[bytes]) -> None:
    """The password was not sent yet, or was accepted."""
    dialogue = login()
    talk(dialogue, GREETING, *chunks, eof=True)
    assert (result(dialogue).verdict, result(dialogue).unanswered) == (LoginVerdict.FAILED, False)


def test_a_response_that_is_not_sent_yet_is_no_attempt() -> None:
    """One that is too long for the line of AUTH comes after the server's `+`."""
    dialogue = login(Mechanism.PLAIN, user="u" * 120, secret="s" * 80)
    _, sent = talk(dialogue, GREETING, CAPABLE, b"what\r\n", eof=True)
    assert sent == b"CAPA\r\nAUTH PLAIN\r\nQUIT\r\n"
    assert (result(dialogue).verdict, result(dialogue).unanswered) == (LoginVerdict.FAILED, False)


@pytest.mark.parametrize(
    ("mechanism", "chunks", "command", "in_reply"),
    [
        (Mechanism.USER, [], "CAPA", False),
        (Mechanism.USER, [b"+OK\r\nTOP\r\n"], "CAPA", True),
        (Mechanism.USER, [CAPABLE], "USER", False),
        (Mechanism.USER, [CAPABLE, IN], "PASS", False),
        (Mechanism.USER, [CAPABLE, IN, IN], "STAT", False),
        (Mechanism.APOP, [BARE], "APOP", False),
        (Mechanism.PLAIN, [CAPABLE], "AUTH PLAIN", False),
        (Mechanism.PLAIN, [CAPABLE, b"+ \r\n"], "the response after AUTH PLAIN", False),
        (Mechanism.PLAIN, [BARE], "AUTH PLAIN", False),
        (Mechanism.PLAIN, [BARE, b"+ \r\n"], "the response after AUTH PLAIN", False),
        (Mechanism.XOAUTH2, [CAPABLE, b"+ \r\n"], "the response after AUTH XOAUTH2", False),
        (Mechanism.XOAUTH2, [CAPABLE, b"+ \r\n", b"+ e30=\r\n"], "the empty line after AUTH XOAUTH2", False),
    ],
)
def test_the_command_that_is_not_answered_yet(
    mechanism: Mechanism, chunks: list[bytes], command: str, in_reply: bool
) -> None:
    """Without the user and the secret; and whether the reply has begun."""
    dialogue = login(mechanism)
    talk(dialogue, GREETING, *chunks)
    assert (dialogue.command, dialogue.in_reply) == (command, in_reply)


@pytest.mark.parametrize(
    ("chunks", "delay"),
    [
        ([], None),
        ([b"+OK\r\nLOGIN-DELAY 60\r\n"], None),
        ([b"+OK\r\n" + b"TOP\r\n" * 200], None),
        ([BARE], 0),
        ([RESP], 0),
        ([CAPABLE], 60),
    ],
)
def test_a_server_that_answers_capa_says_whether_it_wants_time_between_logins(
    chunks: list[bytes], delay: int | None
) -> None:
    """An answer without LOGIN-DELAY takes one away that was stated before; no answer does not."""
    dialogue = login()
    talk(dialogue, GREETING, *chunks, eof=True)
    assert result(dialogue).login_delay == delay


def test_a_refused_login_does_not_await_the_reply_to_quit() -> None:
    """A server may close after the refusal (RFC 1939 section 4), and that is not a failure."""
    assert talk(login(), GREETING, RESP, IN, b"-ERR [IN-USE]\r\n", eof=True)[0][-1] == Finished(b"")


SHOWN = (b"", b"+", b"-ERR", b"+OK", b"-ERR [AUTH]", b"-ERR [IN-USE]")
FORMS: list[Callable[[bytes], bytes]] = [
    bytes,
    bytes.upper,
    base64.b64encode,
    lambda secret: secret.hex().encode(),
    lambda secret: codecs.encode(secret.decode(), "rot13").encode(),
    lambda secret: secret[::-1],
    lambda secret: b" ".join(secret[at : at + 1] for at in range(len(secret))),
    lambda secret: b"".join(b"&#%d;" % octet for octet in secret),
]


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_refusal_is_kept_without_the_servers_words(
    mechanism: Mechanism, form: Callable[[bytes], bytes], before: int
) -> None:
    """Whatever form it gives to the secret, at the first line or later, and also as a response code."""
    secret = (TOKEN if mechanism is Mechanism.XOAUTH2 else PASSWORD).encode()
    answers = [RESP, IN if mechanism is Mechanism.USER else b"+ \r\n"][:before]
    for line in (b"-ERR ", b"-ERR [AUTH] bad: ", b"-ERR [IN-USE/", b"-ERR [", b"", b"+OK"):
        dialogue = login(mechanism)
        events, _ = talk(dialogue, GREETING, *answers, line + form(secret) + b"]\r\n", eof=True)
        last = events[-1]
        shown = last.line if isinstance(last, Failed) else result(dialogue).said.encode()
        assert shown.removesuffix(ALL_HIDDEN).removesuffix(HIDDEN).strip() in SHOWN


def test_how_a_line_is_shown() -> None:
    """Whole before the login and where nothing of it is left out, else without the rest."""
    dialogue = login()
    assert dialogue.hide(b"-ERR too many connections") == b"-ERR too many connections"
    dialogue.begin(GREETING)
    assert dialogue.hide(b"-ERR") == b"-ERR"
    assert dialogue.hide(b"-ERR  [in-use] ") == b"-ERR [IN-USE]"
    assert dialogue.hide(b"-ERR [SYS/TEMP/DB] later") == b"-ERR [SYS/TEMP] " + HIDDEN
    assert dialogue.hide(b"-ERR [SYSTEM] later") == b"-ERR " + HIDDEN
    assert dialogue.hide(b"welcome") == ALL_HIDDEN
    assert dialogue.hide(b"") == b""


LINES = st.sampled_from(
    [
        *(RESP, OLD, BARE, IN, b"+ \r\n", b"+\r\n", b"+OK 3 4\r\n", b"-ERR [AUTH] x\r\n", b"-ERR [IN-USE]\r\n"),
        *(b"-ERR [SYS/TEMP]\r\n", b".\r\n", b"SASL PLAIN XOAUTH2\r\n", b"x" * 700, b"\0\r\n", b"-ERR"),
    ]
)
ALLOWED = (b"CAPA", b"USER ", b"PASS ", b"APOP ", b"AUTH PLAIN", b"AUTH XOAUTH2", b"STAT", b"QUIT", PLAIN, BEARER)


@given(
    said=st.lists(st.one_of(LINES, st.binary(max_size=40)), max_size=8).map(b"".join),
    cuts=st.lists(st.integers(0, 4000), max_size=30),
    mechanism=st.sampled_from(Mechanism),
)
def test_any_split_gives_the_same_events_and_commands(said: bytes, cuts: Sequence[int], mechanism: Mechanism) -> None:
    """In one piece, byte by byte, or in any pieces; and nothing is sent but the commands of a login."""
    data = GREETING + said
    places = [0, *sorted(place for place in cuts if place < len(data)), len(data)]
    whole = talk(login(mechanism), data, eof=True)
    assert talk(login(mechanism), *(data[a:b] for a, b in pairwise(places)), eof=True) == whole
    assert talk(login(mechanism), *(data[n : n + 1] for n in range(len(data))), eof=True) == whole
    events, sent = whole
    assert isinstance(events[0], Greeted)
    assert sum(isinstance(event, (Failed, Finished)) for event in events) == 1
    commands = sent.split(b"\r\n")
    assert all(command.startswith(ALLOWED) or not command for command in commands)
    assert commands.count(b"STAT") <= 1
    assert sum(command.startswith((b"PASS ", b"APOP ")) for command in commands) <= 1
