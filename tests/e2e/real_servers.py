"""Real POP3 servers from Debian's packages: configures and starts each on free ports, in a folder of its own.

`.ci/install-debian` installs them. socat listens for a server that is made for inetd, and talks to it by its standard
input and output.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import probe
from popwatch_cli.local.stack import free_port

UNPACKED = Path(__file__).parents[2] / ".popwatch" / "debian"

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
mail_max_userip_connections = 1000
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/home
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


def copy_for_other_users(package: str, folder: Path) -> Path:
    """Copy what was unpacked of a package into a folder, and return the copy, which every user can read.

    Some programs run, or run others, as another user, who cannot enter `.popwatch` once a local stack has run there: it
    is the folder of the stack's keys, with mode 0700.
    """
    return Path(shutil.copytree(UNPACKED / package, folder / package, symlinks=True))


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A server: its Debian package, the modes it is tested in, and whether it runs under inetd (`command`)."""

    package: str
    modes: Sequence[str]
    inetd: str = ""


SERVER_KINDS = (
    ServerKind("dovecot-pop3d", ("none", "starttls", "implicit")),
    ServerKind("perdition", ("none", "starttls", "implicit")),
    ServerKind("mailutils-pop3d", ("none",), inetd="usr/sbin/pop3d --inetd"),
    ServerKind("popa3d", ("none",), inetd="usr/sbin/popa3d"),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A running server: its ports (`tls_port` for implicit TLS, 0 if it has none), and its first process."""

    port: int
    tls_port: int
    process: int
    authority_pem: str


def missing(kind: ServerKind) -> str:
    """Why a server cannot be started here, or an empty string."""
    if os.geteuid():
        return "it needs root"
    programs = {"dovecot-pop3d": "dovecot", "perdition": "perdition"}
    if kind.inetd:
        installed = (UNPACKED / kind.package / kind.inetd.split()[0]).exists() and shutil.which("socat")
    else:
        installed = shutil.which(programs[kind.package], path="/usr/sbin:/usr/bin")
    return "" if installed else f"{kind.package} is not installed: run .ci/install-debian"


@contextmanager
def running(kind: ServerKind, folder: Path) -> Iterator[Running]:
    """Run a server during the block, which begins when the server greets."""
    authority_pem = certify(folder)
    port, tls_port = free_port(0), free_port(0)
    processes = [start(command, folder) for command in _commands(kind, folder, port, tls_port)]
    try:
        wait_until_greeting(parse_target({"target_id": "x", "host": "127.0.0.1", "port": port}))
        yield Running(port, tls_port if len(kind.modes) > 1 else 0, processes[0].pid, authority_pem)
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)


def version(kind: ServerKind) -> str:
    """The version of a server's package."""
    unpacked = next(UNPACKED.glob(f"{kind.package}_*.deb"), None)
    query = ["dpkg-deb", "-f", str(unpacked), "Version"] if unpacked else ["dpkg-query", "-W", "-f", "${Version}"]
    command = query if unpacked else [*query, kind.package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _commands(kind: ServerKind, folder: Path, port: int, tls_port: int) -> list[list[str]]:
    if kind.inetd:
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
        return [["socat", listen, f"EXEC:{UNPACKED / kind.package / kind.inetd}"]]
    if kind.package == "dovecot-pop3d":
        config = folder / "dovecot.conf"
        config.write_text(DOVECOT.format(folder=folder, port=port, tls_port=tls_port))
        return [["/usr/sbin/dovecot", "-F", "-c", str(config)]]
    modes = (("POP3", port, "tls_listen"), ("POP3S", tls_port, "ssl_listen"))
    return [_perdition(folder, protocol, number, mode) for protocol, number, mode in modes]


def _perdition(folder: Path, protocol: str, port: int, mode: str) -> list[str]:
    options = {
        "protocol": protocol,
        "bind_address": "127.0.0.1",
        "listen_port": str(port),
        "outgoing_server": "127.0.0.1",
        "ssl_mode": mode,
        "ssl_cert_file": str(folder / "cert.pem"),
        "ssl_key_file": str(folder / "key.pem"),
        "map_library": "",
        "pid_file": "",
    }
    return [
        "/usr/sbin/perdition",
        "--no_daemon",
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def certify(folder: Path) -> str:
    """Write `cert.pem` and `key.pem` for 127.0.0.1 into a folder; the certificate of their authority, as PEM."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    return authority.cert_pem.bytes().decode()


def start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, in the folder, with its output there."""
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def wait_until_greeting(target: Target) -> None:
    """Wait until a server passes its test."""
    end = time.monotonic() + 20
    while not probe(target).passed:
        assert time.monotonic() < end, probe(target)
        time.sleep(0.2)
