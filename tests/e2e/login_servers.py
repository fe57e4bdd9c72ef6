"""Real POP3 servers from Debian's packages with a mailbox to log in to, each behind TLS that can be verified.

`.ci/install-debian` installs them. Those without TLS of their own stand behind stunnel, those made for inetd are run by
it. A system user, made for the time of the tests, owns the mailbox: one as mbox, one as Maildir. Cyrus has a store of
its own, which is filled by LMTP.
"""

import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from popwatch_cli.local.stack import free_port
from tests.e2e.real_servers import UNPACKED, certify, copy_for_other_users, start

USER, PASSWORD, DOMAIN = "popwatch-login", "canary-5e2b-horse", "pop.example.net"
MESSAGES = 3
INBOX = Path("/var/mail", USER)
HOME = Path("/home", USER)

DOVECOT = """
protocols = pop3
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
ssl_dh =
disable_plaintext_auth = {no_plaintext}
auth_mechanisms = plain apop
auth_failure_delay = 0
login_trusted_networks = 127.0.0.1
pop3_lock_session = yes
mail_location = {location}
mail_max_userip_connections = 1000
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={user} gid=mail home={home}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = yes
  }}
}}
"""

DOVECOT_WITH_TOKENS = """
auth_mechanisms = xoauth2
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {folder}/tokens.conf
}}
"""

STUNNEL = """
foreground = yes
pid =
[pop3s]
accept = 127.0.0.1:{tls_port}
cert = {folder}/cert.pem
key = {folder}/key.pem
exec = {program}
execArgs = {arguments}
"""

COURIER = """#!/bin/sh
export POP3AUTH="PLAIN LOGIN" POP3AUTH_TLS="PLAIN LOGIN" POP3_TLS=0 TCPREMOTEIP=127.0.0.1 TCPREMOTEPORT=1
export TCPLOCALIP=127.0.0.1 TCPLOCALPORT=995 MAILDIRPATH=Maildir DEBUG_LOGIN=0 MIME_UNICODE_MESSAGE_TYPE=message/global
exec {programs}/courierpop3login {programs}/courierpop3d Maildir
"""

NGINX = """
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{auth_port};
    location / {{
      add_header Auth-Status OK; add_header Auth-Server 127.0.0.1; add_header Auth-Port {behind}; return 204;
    }}
  }}
}}
mail {{
  auth_http 127.0.0.1:{auth_port}/;
  pop3_auth plain;
  ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem;
  server {{ listen 127.0.0.1:{port}; protocol pop3; starttls on; proxy on; }}
  server {{ listen 127.0.0.1:{tls_port} ssl; protocol pop3; proxy on; }}
}}
"""

CYRUS_CONFIG = """
configdirectory: {own}/lib
proc_path: {own}/proc
mboxname_lockpath: {own}/lock
defaultpartition: default
partition-default: {own}/spool
lmtpsocket: {own}/lmtp
cyrus_user: mail
servername: {domain}
autocreate_quota: 0
autocreate_post: yes
allowplaintext: no
allowapop: yes
failedloginpause: 0
popminpoll: {popminpoll}
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {own}/sasldb2
sasl_mech_list: PLAIN LOGIN
tls_server_cert: {own}/cert.pem
tls_server_key: {own}/key.pem
"""

CYRUS_SERVICES = """
START {{
}}
SERVICES {{
  pop3 cmd="{programs}/pop3d -C {own}/imapd.conf" listen="127.0.0.1:{port}" prefork=0
  pop3s cmd="{programs}/pop3d -s -C {own}/imapd.conf" listen="127.0.0.1:{tls_port}" prefork=0
  lmtp cmd="{programs}/lmtpd -C {own}/imapd.conf" listen="{own}/lmtp" prefork=0
}}
EVENTS {{
}}
"""

MAILFRONT = """#!/bin/sh
export CVM_PWFILE_PATH={folder}/users CVM_SASL_PLAIN=/usr/bin/cvm-pwfile MAILBOX=Maildir/
exec /usr/sbin/pop3front-auth /usr/bin/cvm-pwfile /usr/sbin/pop3front-maildir
"""

TWISTED = """
import os

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import ServerFactory
from twisted.mail.maildir import MaildirMailbox
from twisted.mail.pop3 import POP3, IMailbox
from zope.interface import implementer


class Mailbox(MaildirMailbox):  # both methods of Twisted's own fail in Python 3
    def getMessage(self, i):
        return open(self.list[i], "rb")

    def getUidl(self, i):
        return os.path.basename(self.list[i]).encode()


@implementer(IRealm)
class Realm:
    def requestAvatar(self, name, mind, *interfaces):
        return IMailbox, Mailbox("{home}/Maildir"), lambda: None


POP3.portal = Portal(Realm(), [InMemoryUsernamePasswordDatabaseDontUse(**{{"{user}": b"{password}"}})])
address = "ssl:port={tls_port}:interface=127.0.0.1:privateKey={folder}/key.pem:certKey={folder}/cert.pem"
application = Application("pop3")
StreamServerEndpointService(serverFromString(reactor, address), ServerFactory.forProtocol(POP3)).setServiceParent(
    application
)
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that can be logged in to: its ports (0: it has none), its authority and its folder."""

    port: int
    tls_port: int
    authority_pem: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to be started: its folder with `cert.pem` and `key.pem`, and its ports."""

    folder: Path
    port: int
    tls_port: int
    authority_pem: str
    behind: list[int] = field(default_factory=list)
    """The ports to which a proxy connects; what stands there is ready, too, before anyone logs in."""


Commands = Callable[[Place], list[list[str]]]


@dataclass(frozen=True, slots=True)
class LoginKind:
    """A server: how it is started, what it needs of the machine, and what it does.

    `mechanisms` are those that it takes. `starttls` if it has STLS on a plain port too. `in_use` is the verdict of a
    login while another session holds the mailbox, `wrong` that of a wrong password. Dovecot waits for ten seconds
    before it says `[IN-USE]`, so that is tried once only, and has no `in_use` elsewhere. `fill` puts the messages into
    the mailbox of a server that runs and has a store of its own.
    """

    name: str
    commands: Commands
    needs: tuple[str, ...]
    mechanisms: tuple[str, ...] = ("user",)
    starttls: bool = False
    in_use: str = "in-use"
    wrong: str = "rejected"
    login_delay: int = 0
    fill: Callable[[Place], None] | None = None


def _stunnel(place: Place, program: str | Path, arguments: str) -> list[str]:
    config = place.folder / "stunnel.conf"
    config.write_text(
        STUNNEL.format(folder=place.folder, tls_port=place.tls_port, program=program, arguments=arguments)
    )
    return ["/usr/bin/stunnel", str(config)]


def _popa3d(place: Place) -> list[list[str]]:
    return [_stunnel(place, UNPACKED / "popa3d/usr/sbin/popa3d", "popa3d")]


def _mailutils(place: Place) -> list[list[str]]:
    return [_stunnel(place, UNPACKED / "mailutils-pop3d/usr/sbin/pop3d", "pop3d --inetd")]


def _solid(place: Place) -> list[list[str]]:
    unpacked = copy_for_other_users("solid-pop3d", place.folder)
    program, config = unpacked / "usr/sbin/solid-pop3d", unpacked / "etc/spop3d.conf"
    return [_stunnel(place, program, f"solid-pop3d -f {config}")]


def _courier(place: Place) -> list[list[str]]:
    script = place.folder / "courier.sh"
    unpacked = copy_for_other_users("courier-pop", place.folder)
    script.write_text(COURIER.format(programs=unpacked / "usr/lib/courier/courier"))
    script.chmod(0o755)
    return [["/usr/lib/courier/courier-authlib/authdaemond"], _stunnel(place, script, "courier.sh")]


def _dovecot(location: str) -> Commands:
    def commands(place: Place) -> list[list[str]]:
        return [_dovecot_at(place, location, place.port, place.tls_port, no_plaintext="yes")]

    return commands


def plaintext_dovecot(place: Place) -> list[list[str]]:
    """Dovecot, which takes a password without TLS too."""
    return [_dovecot_at(place, "maildir:~/Maildir", place.port, place.tls_port, no_plaintext="no")]


def _dovecot_at(place: Place, location: str, port: int, tls_port: int, *, no_plaintext: str) -> list[str]:
    folder = place.folder
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    config = folder / "dovecot.conf"
    config.write_text(
        DOVECOT.format(
            folder=folder,
            port=port,
            tls_port=tls_port,
            location=location.format(inbox=INBOX, folder=folder),
            no_plaintext=no_plaintext,
            user=USER,
            home=HOME,
        )
    )
    return ["/usr/sbin/dovecot", "-F", "-c", str(config)]


def dovecot_with_tokens(asks: int) -> Commands:
    """Dovecot with XOAUTH2 only, which asks at a port of the loopback, by HTTP, whose a token is."""

    def commands(place: Place) -> list[list[str]]:
        started = _dovecot("maildir:~/Maildir")(place)
        config = place.folder / "dovecot.conf"
        config.write_text(config.read_text() + DOVECOT_WITH_TOKENS.format(folder=place.folder))
        (place.folder / "tokens.conf").write_text(
            f"tokeninfo_url = http://127.0.0.1:{asks}/?access_token=\nusername_attribute = username\n"
        )
        return started

    return commands


def _dovecot_behind(place: Place) -> tuple[int, list[str]]:
    """The Dovecot to which a proxy connects in the clear: its port, and its command."""
    port = free_port(0)
    place.behind.append(port)
    return port, _dovecot_at(place, "maildir:~/Maildir", port, free_port(0), no_plaintext="no")


def _nginx(place: Place) -> list[list[str]]:
    behind, dovecot = _dovecot_behind(place)
    auth_port = free_port(0)
    ports = {"port": place.port, "tls_port": place.tls_port, "behind": behind, "auth_port": auth_port}
    config = place.folder / "nginx.conf"
    config.write_text(NGINX.format(folder=place.folder, **ports))
    return [
        dovecot,
        ["/usr/sbin/nginx", "-c", str(config), "-p", str(place.folder)],
    ]


def _perdition(place: Place) -> list[list[str]]:
    behind, dovecot = _dovecot_behind(place)
    options = {
        "protocol": "POP3S",
        "bind_address": "127.0.0.1",
        "listen_port": str(place.tls_port),
        "outgoing_server": "127.0.0.1",
        "outgoing_port": str(behind),
        "ssl_mode": "ssl_listen",
        "ssl_cert_file": str(place.folder / "cert.pem"),
        "ssl_key_file": str(place.folder / "key.pem"),
        "map_library": "",
        "pid_file": "",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [
        dovecot,
        ["/usr/sbin/perdition", "--no_daemon", *arguments],
    ]


def cyrus(*, popminpoll: int = 0) -> Commands:
    """Cyrus, which lets a user log in again only after `popminpoll` minutes, and says so with `[LOGIN-DELAY]`."""

    def commands(place: Place) -> list[list[str]]:
        own, programs = place.folder / "cyrus", copy_for_other_users("cyrus-pop3d", place.folder) / "usr"
        libraries = f"LD_LIBRARY_PATH={next(programs.glob('lib/*/libcyrus.so.0')).parent}"
        for part in ("lib/db", "lib/socket", "spool", "proc", "lock"):
            (own / part).mkdir(parents=True)
        for name in ("cert.pem", "key.pem"):
            shutil.copy(place.folder / name, own)
        given = {"own": own, "programs": programs / "lib/cyrus/bin", "port": place.port, "tls_port": place.tls_port}
        (own / "imapd.conf").write_text(CYRUS_CONFIG.format(**given, domain=DOMAIN, popminpoll=popminpoll))
        (own / "cyrus.conf").write_text(CYRUS_SERVICES.format(**given))
        store = [str(programs / "sbin/saslpasswd2"), "-p", "-c", "-f", str(own / "sasldb2"), "-u", DOMAIN, USER]
        subprocess.run(store, input=PASSWORD, text=True, check=True)
        subprocess.run(["chown", "-R", "mail", str(own)], check=True)
        config = ["-C", str(own / "imapd.conf"), "-M", str(own / "cyrus.conf"), "-p", str(own / "pid")]
        return [["env", libraries, str(programs / "lib/cyrus/bin/master"), *config]]

    return commands


def _fill_cyrus(place: Place) -> None:
    with smtplib.LMTP(str(place.folder / "cyrus" / "lmtp")) as client:
        for number in range(MESSAGES):
            client.sendmail("a@example.net", [USER], _message(number))


def _mailfront(place: Place) -> list[list[str]]:
    owner = pwd.getpwnam(USER)
    users, script = place.folder / "users", place.folder / "mailfront.sh"
    users.write_text(f"{USER}:{PASSWORD}:{owner.pw_uid}:{owner.pw_gid}::{HOME}:/bin/sh\n")
    users.chmod(0o600)
    script.write_text(MAILFRONT.format(folder=place.folder))
    script.chmod(0o755)
    return [_stunnel(place, script, "mailfront.sh")]


def _twisted(place: Place) -> list[list[str]]:
    program = place.folder / "pop3.tac"
    given = {"folder": place.folder, "tls_port": place.tls_port, "home": HOME, "user": USER, "password": PASSWORD}
    program.write_text(TWISTED.format(**given))
    return [["/usr/bin/twistd3", "--nodaemon", "--pidfile=", "--python", str(program)]]


CYRUS = LoginKind(
    "cyrus",
    cyrus(),
    ("cyrus-pop3d/usr/lib/cyrus/bin/pop3d", "cyrus-pop3d/usr/sbin/saslpasswd2"),
    mechanisms=("user", "plain", "apop"),
    starttls=True,
    in_use="passed",
    fill=_fill_cyrus,
)

KINDS = (
    LoginKind(
        "dovecot, Maildir",
        _dovecot("maildir:~/Maildir"),
        ("/usr/sbin/dovecot",),
        mechanisms=("user", "plain", "apop"),
        starttls=True,
    ),
    LoginKind(
        "dovecot, mbox",
        _dovecot("mbox:~/mail:INBOX={inbox}"),
        ("/usr/sbin/dovecot",),
        mechanisms=("user", "plain", "apop"),
        starttls=True,
        in_use="",
    ),
    LoginKind(
        "courier",
        _courier,
        ("courier-pop", "/usr/bin/stunnel"),
        mechanisms=("user", "plain"),
        in_use="passed",
        wrong="unclear",
        login_delay=10,
    ),
    LoginKind("popa3d", _popa3d, ("popa3d", "/usr/bin/stunnel"), in_use="passed", wrong="unclear"),
    LoginKind("mailutils", _mailutils, ("mailutils-pop3d", "/usr/bin/stunnel")),
    LoginKind("solid-pop3d", _solid, ("solid-pop3d", "/usr/bin/stunnel"), in_use="passed", wrong="unclear"),
    LoginKind(
        "nginx, before dovecot",
        _nginx,
        ("/usr/sbin/nginx", "/usr/sbin/dovecot"),
        starttls=True,
        in_use="",
        wrong="unclear",
    ),
    LoginKind(
        "perdition, before dovecot",
        _perdition,
        ("/usr/sbin/perdition", "/usr/sbin/dovecot"),
        in_use="",
        wrong="unclear",
    ),
    CYRUS,
    LoginKind(
        "mailfront",
        _mailfront,
        ("/usr/sbin/pop3front-auth", "/usr/bin/cvm-pwfile", "/usr/bin/stunnel"),
        mechanisms=("user", "plain"),
        in_use="passed",
        wrong="unclear",
    ),
    LoginKind(
        "twisted",
        _twisted,
        ("/usr/bin/twistd3",),
        in_use="passed",
        wrong="unclear",
    ),
)


def missing(kind: LoginKind) -> str:
    """Why a server cannot be started here, or an empty string."""
    if os.geteuid():
        return "it needs root"
    absent = [need for need in kind.needs if not (Path(need) if need.startswith("/") else UNPACKED / need).exists()]
    return f"{absent[0]} is not installed: run .ci/install-debian" if absent else ""


@contextmanager
def mailbox() -> Iterator[None]:
    """The user, with three messages as mbox and as Maildir. The user goes with the block.

    The group is `mail`, so that a server can make and remove its lock file beside the mbox.
    """
    INBOX.with_suffix(".lock").unlink(missing_ok=True)
    subprocess.run(["userdel", "-rf", USER], capture_output=True, check=False)
    subprocess.run(["useradd", "-m", "-g", "mail", "-s", "/bin/sh", USER], capture_output=True, check=True)
    subprocess.run(["chpasswd"], input=f"{USER}:{PASSWORD}", text=True, check=True)
    if "spop3d" not in {entry.pw_name for entry in pwd.getpwall()}:  # as solid-pop3d's package does
        subprocess.run(["useradd", "-r", "-g", "mail", "-d", "/nonexistent", "spop3d"], check=True)
    Path("/var/lib/solid-pop3d/bulletins").mkdir(parents=True, exist_ok=True)
    try:
        for part in ("cur", "new", "tmp"):
            (HOME / "Maildir" / part).mkdir(parents=True)
        texts = [_message(number) for number in range(MESSAGES)]
        for number, text in enumerate(texts):
            (HOME / "Maildir" / "cur" / f"{1764230400 + number}.M{number}P1.{DOMAIN}:2,").write_text(text)
        INBOX.write_text("".join(f"From a@example.net Fri Nov 27 10:00:00 2026\n{text}\n" for text in texts))
        subprocess.run(["chown", "-R", f"{USER}:mail", str(HOME), str(INBOX)], check=True)
        INBOX.chmod(0o660)
        yield
    finally:
        subprocess.run(["userdel", "-rf", USER], capture_output=True, check=False)


def _message(number: int) -> str:
    return (
        f"From: a@example.net\nTo: {USER}@{DOMAIN}\nSubject: message {number}\nMessage-ID: <{number}@example.net>\n"
        f"Date: Fri, 27 Nov 2026 10:00:0{number} +0000\n\n{'Hello. ' * (number + 1)}\n"
    )


@contextmanager
def running(kind: LoginKind, folder: Path) -> Iterator[Running]:
    """Run a server during the block, which begins when its TLS port accepts, and what stands behind it, too."""
    authority_pem = certify(folder)
    (folder / "key.pem").chmod(0o600)
    folder.chmod(0o755)
    place = Place(folder, free_port(0), free_port(0), authority_pem)
    processes = [start(command, folder) for command in kind.commands(place)]
    try:
        for port in (*place.behind, place.tls_port):
            wait_until_accepting(port, folder)
        if kind.fill:
            kind.fill(place)
        yield Running(place.port if kind.starttls else 0, place.tls_port, place.authority_pem, folder)
    finally:
        for process in reversed(processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)


def wait_until_accepting(port: int, folder: Path) -> None:
    """Wait until a program whose output is in the folder accepts connections."""
    end = time.monotonic() + 20
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < end, (folder / "output").read_text(errors="replace")
        time.sleep(0.1)
