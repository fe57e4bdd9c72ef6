"""A thousand logins to each kind of real server in TLS, and at Dovecot beside tests that only greet.

Needs root and the servers (`.ci/install-debian`). Each kind has one mailbox of three messages, which is logged in to a
thousand times, one after the other, by each of the mechanisms that it takes in turn. At Dovecot a hundred users have
such a mailbox; each is logged in to twenty times, 50 at a time, by USER and PASS or by SASL PLAIN, and CPU time is of
the prober's thread. Before and after, another client reads STAT, UIDL and all messages of every mailbox; between
popwatch and the servers stands a proxy that keeps what popwatch sends, in which users and password are looked for.
"""

import base64
import os
import poplib
import shutil
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from popwatch.model.credentials import Credential, Mechanism, Secret
from popwatch.model.outcomes import LoginVerdict, Outcome
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober, probe
from tests.e2e.login_servers import (
    DOVECOT,
    HOME,
    KINDS,
    MESSAGES,
    PASSWORD,
    LoginKind,
    Place,
    Running,
    mailbox,
    missing,
    running,
)
from tests.e2e.login_servers import USER as OWNER
from tests.e2e.tap import tapping

USERS, ROUNDS, GREETING_ROUNDS, IN_FLIGHT = 100, 20, 10, 50
LOGINS = 1000
"""To each kind of server."""


def main() -> None:
    """Print the figures."""
    if reason := next(filter(None, map(missing, KINDS)), ""):
        sys.exit(f"The servers cannot be started here: {reason}.")
    with mailbox():
        print(f"{'server':<27} logins   right  login_ms middle  at most   octets sent  mailbox    found in them")
        for kind in KINDS:
            with TemporaryDirectory() as folder, running(kind, Path(folder)) as server:
                log_in_to(kind, server)
        print()
        with TemporaryDirectory() as folder, running(LoginKind("dovecot", _dovecot, ()), Path(folder)) as server:
            compare(server)


def log_in_to(kind: LoginKind, server: Running) -> None:
    """Log in to a kind of server, and print a line."""
    contents(server, OWNER)  # a server may note in the mailbox what has been read
    before = contents(server, OWNER)
    with tapping(server.tls_port) as tap:
        where = target(server, tap.port, OWNER)
        probers = [
            Prober(credentials={OWNER: Credential("n", OWNER, Secret(PASSWORD), Mechanism(mechanism))})
            for mechanism in kind.mechanisms
        ]
        outcomes = [when_free(where, probers[number % len(probers)]) for number in range(LOGINS)]
    seen = b"".join(tap.sent)
    good = [it.login_ms for it in outcomes if it.passed and right(it.login) and it.login_ms is not None]
    state = "unchanged" if contents(server, OWNER) == before else "CHANGED"
    times = f"{statistics.median(good):>15.0f} {max(good):>8.0f}" if good else f"{'-':>15} {'-':>8}"
    what = ", ".join(found(seen, [OWNER])) or "nothing"
    print(
        f"{kind.name:<27} {len(outcomes):>6,} {len(good):>7,} {times} {len(seen):>13,}  {state:<9}  {what}", flush=True
    )


def when_free(where: Target, prober: Prober) -> Outcome:
    """A login, once the session before has let go of the mailbox, which some servers do a little after QUIT."""
    for _ in range(200):
        outcome = probe(where, prober)
        if outcome.login is None or outcome.login.verdict is not LoginVerdict.IN_USE:
            break
        time.sleep(0.02)
    return outcome


def compare(server: Running) -> None:
    """Measure logins beside greetings."""
    before = [contents(server, user) for user in users()]
    with tapping(server.tls_port) as tap:
        greeted = measure(server, tap.port, "greetings", {})
        mixed = {
            user: Credential("n", user, Secret(PASSWORD), (Mechanism.USER, Mechanism.PLAIN)[number % 2])
            for number, user in enumerate(users())
        }
        logged_in = measure(server, tap.port, "logins", mixed)
    seen = b"".join(tap.sent)
    after = [contents(server, user) for user in users()]
    print(f"A test that logs in takes {logged_in.cpu / greeted.cpu:.2f} times the CPU time of one that greets.")
    what = ", ".join(found(seen, users())) or "nothing"
    print(f"Connections: {len(tap.sent):,}; {len(seen):,} octets sent. Found in them: {what}.")
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    print(f"Mailboxes: {len(after)}; changed: {changed}.")


def users() -> list[str]:
    """The users' names."""
    return [f"user-{number}" for number in range(USERS)]


def found(seen: bytes, names: Sequence[str]) -> Iterator[str]:
    """What no one on the path may see, and does."""
    if PASSWORD.encode() in seen:
        yield "the password"
    if any(base64.b64encode(f"\0{user}\0{PASSWORD}".encode()) in seen for user in names):
        yield "the password in Base64"
    if any(user.encode() in seen for user in names):
        yield "a user"


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of CPU time of a test, the median of the rounds."""

    cpu: float


def measure(server: Running, port: int, what: str, credentials: dict[str, Credential]) -> Measured:
    """Test all users' mailboxes in rounds, and print a line."""
    targets, cpus, passed, times = [target(server, port, user) for user in users()], [], 0, list[float]()
    begun = time.perf_counter()
    prober = Prober(in_flight=IN_FLIGHT, credentials=credentials)
    rounds = ROUNDS if credentials else GREETING_ROUNDS
    for _ in range(rounds):
        cpu = time.thread_time()
        outcomes = [outcome for arrivals in prober.run(targets) for _, outcome in arrivals]
        cpus.append((time.thread_time() - cpu) / len(outcomes))
        good = [it for it in outcomes if it.passed and (not credentials or right(it.login))]
        passed += len(good)
        times += [it.login_ms for it in good if it.login_ms is not None]
    wall = time.perf_counter() - begun
    timed = f", login_ms {statistics.median(times):.0f} in the middle, {max(times):.0f} at most" if times else ""
    made = len(targets) * rounds
    print(f"{made:,} {what}: {passed:,} right, {statistics.median(cpus) * 1e6:.0f} us of CPU each, {wall:.0f} s{timed}")
    return Measured(statistics.median(cpus))


def right(login: object) -> bool:
    """Whether a login has opened the mailbox, and counted it."""
    return (getattr(login, "verdict", None), getattr(login, "messages", None)) == (LoginVerdict.PASSED, MESSAGES)


def target(server: Running, port: int, user: str) -> Target:
    """A target whose id is the user's name."""
    item = {"target_id": user, "host": "127.0.0.1", "port": port, "tls": "implicit", "max_test_seconds": 60}
    return parse_target(item | {"ca_pem": server.authority_pem})


def contents(server: Running, user: str) -> tuple[object, Sequence[bytes], list[list[bytes]]]:
    """STAT, UIDL and every message of a mailbox."""
    context = ssl.create_default_context(cadata=server.authority_pem)
    client = poplib.POP3_SSL("127.0.0.1", server.tls_port, context=context, timeout=20)
    try:
        client.user(user)
        client.pass_(PASSWORD)
        found = client.stat(), client.uidl()[1], [client.retr(number + 1)[1] for number in range(MESSAGES)]
        client.quit()
    finally:
        client.close()
    return found


def _dovecot(place: Place) -> list[list[str]]:
    """The server, with a copy of the Maildir for each user."""
    for user in users():
        shutil.copytree(HOME / "Maildir", place.folder / "mail" / user)
    subprocess.run(["chown", "-R", f"{OWNER}:mail", str(place.folder / "mail")], check=True)
    (place.folder / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users()))
    config = place.folder / "dovecot.conf"
    text = DOVECOT.format(
        folder=place.folder,
        port=place.port,
        tls_port=place.tls_port,
        location=f"maildir:{place.folder}/mail/%u",
        no_plaintext="yes",
        user=OWNER,
        home=HOME,
    )
    config.write_text(text)
    return [["/usr/sbin/dovecot", "-F", "-c", str(config)]]


if __name__ == "__main__":
    os.umask(0o022)
    main()
