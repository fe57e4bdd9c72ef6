"""Real POP3 servers for posture tests: each with a switch for every fault that it can have, on free ports of 127.0.0.2.

Dovecot takes a connection from its own address for a secure one; from 127.0.0.1 to 127.0.0.2 it is not.
"""

import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from popwatch.model.fields import TlsMode
from popwatch.model.posture import PostureFindingKind
from popwatch.model.targets import parse_target
from popwatch_cli.local.stack import free_port
from tests import chains
from tests.chains import NAME, CertifiedKey, Chain, made
from tests.e2e.real_servers import DOVECOT, UNPACKED, copy_for_other_users, start, wait_until_greeting

HOST = "127.0.0.2"
ROOT = made("Root", extensions=chains.authority())
MIDDLE = made("Intermediate", None, ROOT, chains.authority())
ROOT_PEM = Chain(ROOT.key, [], [ROOT.certificate]).seen[1]


def certificate(days: tuple[int, int], name: str = NAME) -> CertifiedKey:
    """A certificate that is valid from and until so many days from now."""
    return made(name, None, MIDDLE, chains.server(name), days=days)


OWN, RENEWED = certificate((-60, 30)), certificate((-1, 89))
OF_ANOTHER_NAME = certificate((-60, 30), "www.example.net")


@dataclass(frozen=True, slots=True)
class Setup:
    """How a server is set up; by default without a fault."""

    stls: bool = True
    plaintext: bool = False
    lowest: str = "1.2"
    mechanisms: Sequence[str] = ("PLAIN", "LOGIN")
    capabilities: Sequence[str] = ("TOP", "UIDL", "USER")
    shown: CertifiedKey = OWN
    whole: bool = True
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """A server: its package, the program by which one sees that it is there, and its kind of TLS.

    `lacks` are the switches that it does not have, and why; `also` is what a switch changes beside what it is for.
    """

    package: str
    program: Path
    tls: TlsMode = TlsMode.NONE
    lacks: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, PostureFindingKind] = field(default_factory=dict)

    @property
    def missing(self) -> str:
        """Why it cannot be started here, or an empty string."""
        if os.geteuid():
            return "it needs root"
        found = self.program.exists() and shutil.which("socat")
        return "" if found else f"{self.package} is not installed: run .ci/install-debian"


_COURIER = UNPACKED / "courier-pop" / "usr"
_NO_START = "it does not start then"
_NO_MECHANISMS = "it offers no SASL mechanisms"
_NO_SETTING = "no setting for its capabilities"
SERVERS = (
    Server("dovecot-pop3d", Path("/usr/sbin/dovecot"), lacks={"capability removed": _NO_SETTING}),
    Server(
        "courier-pop",
        _COURIER / "lib/courier/courier/courierpop3login",
        lacks={"capability removed": _NO_SETTING},
    ),
    Server(
        "nginx",
        Path("/usr/lib/nginx/modules/ngx_mail_module.so"),
        lacks={"certificate damaged": _NO_START, "mechanism removed": "PLAIN and LOGIN go together"},
        also={"STLS off": PostureFindingKind.PLAINTEXT_LOGIN},
    ),
    Server(
        "perdition",
        Path("/usr/sbin/perdition"),
        lacks={
            "certificate damaged": _NO_START,
            "plaintext allowed": "it always accepts USER, and refuses PASS",
            "mechanism removed": _NO_MECHANISMS,
            "weak mechanism": _NO_MECHANISMS,
        },
    ),
    Server(
        "popa3d",
        UNPACKED / "popa3d/usr/sbin/popa3d",
        TlsMode.IMPLICIT,
        lacks={
            "STLS off": "TLS from the first byte",
            "certificate damaged": _NO_START,
            "plaintext allowed": "TLS from the first byte",
            "mechanism removed": "it knows no CAPA",
            "weak mechanism": "it knows no CAPA",
            "capability removed": "it knows no CAPA",
        },
    ),
)
"""popa3d stands behind stunnel; nginx and perdition are proxies, of which nothing behind them is needed."""


@contextmanager
def running(server: Server, setup: Setup) -> Iterator[int]:
    """Run a server during the block; its port. Courier's TLS program reads the certificate as a user of its own."""
    with TemporaryDirectory(prefix=server.package) as name:
        Path(name).chmod(0o755)
        with _running(server, Path(name), setup) as port:
            yield port


@contextmanager
def _running(server: Server, folder: Path, setup: Setup) -> Iterator[int]:
    presented = [setup.shown.certificate, *([MIDDLE.certificate] if setup.whole else [])]
    for name in ("both.pem", "cert.pem", "key.pem"):
        kept = "" if setup.damaged and name != "key.pem" else Chain(setup.shown.key, presented, []).server_pem
        (folder / name).write_text(kept)
    port = free_port(0)
    commands = {
        "dovecot-pop3d": _dovecot,
        "courier-pop": _courier,
        "nginx": _nginx,
        "perdition": _perdition,
        "popa3d": _popa3d,
    }
    process = start(commands[server.package](folder, port, setup), folder)
    try:
        fields = {"host": HOST, "port": port, "tls": server.tls, "verify_tls": False}
        wait_until_greeting(parse_target({"target_id": "x", **fields}))
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _dovecot(folder: Path, port: int, setup: Setup) -> list[str]:
    config = DOVECOT.format(folder=folder, port=port, tls_port=free_port(0)).replace(
        "listen = 127.0.0.1", f"listen = {HOST}"
    )
    config += f"""
ssl = {"yes" if setup.stls else "no"}
ssl_min_protocol = TLSv{setup.lowest.removesuffix(".0")}
ssl_cipher_list = ALL:@SECLEVEL=0
disable_plaintext_auth = {"no" if setup.plaintext else "yes"}
auth_mechanisms = {" ".join(setup.mechanisms).lower()}
"""
    (folder / "dovecot.conf").write_text(config)
    return ["/usr/sbin/dovecot", "-F", "-c", str(folder / "dovecot.conf")]


def _nginx(folder: Path, port: int, setup: Setup) -> list[str]:
    """Its module for mail. Without `starttls` it needs a way to log in all the same."""
    versions = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
    starttls = ("on" if setup.plaintext else "only") if setup.stls else "off"
    config = f"""
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
mail {{
  auth_http 127.0.0.1:9/;
  pop3_auth plain {" ".join(set(setup.mechanisms) - {"PLAIN", "LOGIN"}).lower()};
  pop3_capabilities {" ".join(setup.capabilities)};
  ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem;
  ssl_protocols {" ".join(versions[versions.index(f"TLSv{setup.lowest.removesuffix('.0')}") :])};
  ssl_ciphers ALL:@SECLEVEL=0;
  server {{ listen {HOST}:{port}; protocol pop3; starttls {starttls}; }}
}}
"""
    (folder / "nginx.conf").write_text(config)
    return ["/usr/sbin/nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]


def _popa3d(folder: Path, port: int, setup: Setup) -> list[str]:
    config = f"""
foreground = yes
pid =
sslVersionMin = TLSv{setup.lowest.removesuffix(".0")}
securityLevel = 0
[pop3s]
accept = {HOST}:{port}
cert = {folder}/cert.pem
key = {folder}/key.pem
exec = {UNPACKED}/popa3d/usr/sbin/popa3d
execArgs = popa3d
"""
    (folder / "stunnel.conf").write_text(config)
    return ["/usr/bin/stunnel", str(folder / "stunnel.conf")]


def _perdition(folder: Path, port: int, setup: Setup) -> list[str]:
    mode = "tls_listen" if setup.plaintext else "tls_listen_force"
    options = {
        "protocol": "POP3",
        "bind_address": HOST,
        "listen_port": str(port),
        "outgoing_server": "127.0.0.1",
        "ssl_mode": mode if setup.stls else "none",
        "ssl_cert_file": str(folder / "both.pem"),
        "ssl_key_file": str(folder / "both.pem"),
        "ssl_listen_min_proto_version": f"tlsv{setup.lowest.removesuffix('.0')}",
        "ssl_listen_ciphers": "ALL:@SECLEVEL=0",
        "pop_capability": "  ".join(setup.capabilities),
        "map_library": "",
        "pid_file": "",
    }
    if setup.whole:
        options["ssl_ca_chain_file"] = str(folder / "both.pem")
    given = (part for name, value in options.items() for part in (f"--{name}", value))
    return ["/usr/sbin/perdition", "--no_daemon", *given]


def _courier(folder: Path, port: int, setup: Setup) -> list[str]:
    """Without its own listener, which needs files in /etc and /var; socat starts one process for each connection."""
    mechanisms = " ".join(setup.mechanisms)
    unpacked = copy_for_other_users("courier-pop", folder) / "usr"
    variables = {
        "LD_LIBRARY_PATH": f"{unpacked}/lib:{unpacked}/lib/x86_64-linux-gnu:{unpacked}/lib/aarch64-linux-gnu",
        "POP3_STARTTLS": "YES" if setup.stls else "NO",
        "POP3_TLS_REQUIRED": "0" if setup.plaintext else "1",
        "COURIERTLS": f"{unpacked}/bin/couriertls",
        "TLS_CERTFILE": f"{folder}/both.pem",
        "TLS_VERIFYPEER": "NONE",
        "TLS_PRIORITY": _gnutls_priority(setup.lowest),
        "POP3AUTH": mechanisms if setup.plaintext else "",
        "POP3AUTH_TLS": mechanisms,
    }
    script = folder / "courier"
    lines = [f"export {name}={value!r}" for name, value in variables.items()]
    programs = unpacked / "lib/courier/courier"
    start_it = f"exec {programs}/courierpop3login {programs}/courierpop3d Maildir"
    script.write_text("\n".join(["#!/bin/sh", *lines, start_it, ""]))
    script.chmod(0o700)
    return ["socat", f"TCP-LISTEN:{port},bind={HOST},reuseaddr,fork", f"EXEC:{script}"]


def _gnutls_priority(lowest: str) -> str:
    """Debian's Courier is built with GnuTLS, which refuses old versions unless they are named."""
    versions = ("1.0", "1.1", "1.2", "1.3")
    offered = ":".join(f"+VERS-TLS{version}" for version in versions[versions.index(lowest) :])
    return f"NORMAL:-VERS-ALL:{offered}:+SHA1:+SIGN-ALL:%VERIFY_ALLOW_BROKEN"
