"""The modules of blackbox_exporter: which of them test POP3, and what of them becomes fields of a target.

Reference: https://github.com/prometheus/blackbox_exporter, CONFIGURATION.md and prober/query_response.go. A step's
`expect` is a regular expression, and lines are read until one matches. A module tests POP3 if the first thing that it
expects, before it sends anything, is a greeting with `+OK`: `OK` alone is expected of IMAP, Redis, NATS and SIP too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import FileError
from popwatch_cli.files.yaml import Block, read_blocks
from popwatch_cli.importers.conversion import TEST_SECONDS, ImportWarnings, Place, bounded, seconds
from popwatch_cli.target_items import shown

KNOWN_IN_MODULE = {
    "prober",
    "timeout",
    "tcp",
    "tcp.query_response",
    "tcp.tls",
    "tcp.tls_config",
    "tcp.tls_config.insecure_skip_verify",
    "tcp.tls_config.min_version",
    "tcp.tls_config.server_name",
}

TLS_VERSIONS = {"TLS10": "1.0", "TLS11": "1.1", "TLS12": "1.2", "TLS13": "1.3"}
"""`min_version` of Prometheus's tls_config (github.com/prometheus/common, config/http_config.go)."""

EQUIVALENTS = {
    "tcp.tls_config.ca_file": "is not imported: set `ca_file`, or `ca_pem`, which has the certificates themselves.",
    "tcp.preferred_ip_protocol": "is not imported: set `family` if only one family is to be tested.",
    "tcp.ip_protocol_fallback": "is not imported: set `family` if only one family is to be tested.",
}
"""Settings that are not imported, with what to do instead."""

OWN_COMMANDS = {"QUIT", "STLS"}
"""What popwatch says itself."""

_GREETING = re.compile(r"\^?(?:\(\?[a-z]+\))?(?:\\\+|\[\+\]|\+)OK(?![A-Za-z0-9])")
"""The beginning of a pattern for a POP3 greeting; the exporter's own pop3s_banner has `^+OK`."""

_ANY = re.compile(r"(?:\.|\\[sSdDwW])(?:[*+?]\??)?")
_LITERAL = re.compile(r"\\([^A-Za-z0-9])|([^\\.*+?{}()\[\]|^$])")


class ModuleKind(StrEnum):
    """What a module tests."""

    POP3 = "pop3"
    ANYTHING = "anything"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Module:
    """What is known of a module; `reason` says why it is of another kind, `remarks` what is not imported of it."""

    name: str = ""
    kind: ModuleKind = ModuleKind.OTHER
    tls: TlsMode | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    remarks: Sequence[str] = ()


def unknown_module(name: str) -> Module:
    """A module of which only the name is known."""
    if not has_pop3_name(name):
        return Module(name, reason=f"its module {shown(name)} does not have pop3 in its name; give --modules")
    remark = f"The settings of the module {shown(name)} are unknown: give blackbox.yml with --modules."
    return Module(name, ModuleKind.POP3, remarks=(remark,))


def has_pop3_name(name: str) -> bool:
    """Whether a module's name says that it tests POP3."""
    return "pop3" in name.lower()


def read_modules(text: str, file: str, warnings: ImportWarnings) -> dict[str, Module]:
    """The modules of a blackbox.yml. Raises FileError."""
    root = read_blocks(text)
    modules = root.get("modules") if isinstance(root, Block) else None
    if not isinstance(modules, Block):
        raise FileError(["The file of modules is not a blackbox.yml: it has no map `modules`."])
    return {name: _module(name, body, file, warnings) for name, body in modules.items() if isinstance(body, Block)}


def _module(name: str, body: Block, file: str, warnings: ImportWarnings) -> Module:
    if body.get("prober") != "tcp":
        return Module(name, reason=f"its module {shown(name)} does not have the prober tcp")
    tcp = body.get("tcp")
    tcp = tcp if isinstance(tcp, Block) else Block({}, 0, {})
    steps = tcp.get("query_response")
    steps = [step for step in steps if isinstance(step, Block)] if isinstance(steps, list) else []
    kind, pattern = _kind(name, steps)
    if kind is ModuleKind.OTHER:
        return Module(name, reason=f"its module {shown(name)} expects no POP3 greeting")
    tls = TlsMode.NONE
    if any(step.get("starttls") is True for step in steps):
        tls = TlsMode.STARTTLS
    elif tcp.get("tls") is True:
        tls = TlsMode.IMPLICIT
    remarks = [
        f"`{shown(path)}` of the module {shown(name)} {EQUIVALENTS.get(path, 'has no equivalent.')}"
        for path in sorted(_names_of(body) - KNOWN_IN_MODULE)
    ]
    fields = _fields(body, tcp, file, warnings)
    text = expected_text(pattern)
    if text is None:
        remarks.append(f"What the module {shown(name)} expects after +OK is a pattern: set `expect` by hand.")
    elif text:
        fields["expect"] = text
    remarks += _sent(name, steps)
    if kind is ModuleKind.ANYTHING:
        remarks.append(f"The module {shown(name)} only connects; popwatch also demands a POP3 greeting.")
    return Module(name, kind, tls if kind is ModuleKind.POP3 or tls is not TlsMode.NONE else None, fields, "", remarks)


def _fields(body: Block, tcp: Block, file: str, warnings: ImportWarnings) -> dict[str, object]:
    """The fields that are set by a module's time limit and by its settings of TLS."""
    fields: dict[str, object] = {}
    if "timeout" in body:
        place = Place(file, body.line_of("timeout"))
        try:
            fields["max_test_seconds"] = bounded(
                seconds(body["timeout"], "timeout"), TEST_SECONDS, place, "timeout", warnings
            )
        except ValueError as error:
            warnings.add(place, f"{error}; it is not imported.")
    config = tcp.get("tls_config")
    if isinstance(config, Block):
        if config.get("insecure_skip_verify") is True:
            fields["verify_tls"] = False
        if config.get("server_name"):
            fields["tls_name"] = str(config["server_name"])
        if config.get("min_version") in TLS_VERSIONS:
            fields["tls_min"] = TLS_VERSIONS[str(config["min_version"])]
    return fields


def _kind(name: str, steps: Sequence[Block]) -> tuple[ModuleKind, str]:
    """What steps test, and the pattern of the greeting that they expect, if there is one."""
    for step in steps:
        expected = step.get("expect") or step.get("expect_bytes")
        if expected:
            text = str(expected)
            is_greeting = _GREETING.match(text) if "expect" in step else text.startswith("+OK")
            return (ModuleKind.POP3, text if "expect" in step else "") if is_greeting else (ModuleKind.OTHER, "")
        if step.get("send"):
            break
    if has_pop3_name(name):
        return ModuleKind.POP3, ""
    return (ModuleKind.OTHER if steps else ModuleKind.ANYTHING), ""


def expected_text(pattern: str) -> str | None:
    """The text that a pattern for a POP3 greeting demands, as in the field `expect`; empty if it is just `+OK`.

    None if it demands what a text cannot, such as one of several words.
    """
    begin = _GREETING.match(pattern)
    if begin is None:
        return ""
    rest, text = pattern[begin.end() :].removesuffix("$"), "+OK"
    while rest:
        found = _ANY.match(rest)
        if found is None:
            literal = _LITERAL.match(rest)
            if literal is None or rest[literal.end() : literal.end() + 1] in set("*+?{"):
                return None
            text += literal[1] or literal[2]
            rest = rest[literal.end() :]
        else:
            text += "*"
            rest = rest[found.end() :]
    text = re.sub(r"\*+", "*", text).strip(" *")
    return "" if text == "+OK" else text


def _sent(name: str, steps: Sequence[Block]) -> list[str]:
    """A remark for each command that popwatch does not send; its arguments may be a password."""
    words = [str(step["send"]).split() for step in steps if step.get("send")]
    commands = dict.fromkeys(said[0].upper() for said in words if said)
    return [
        f"The module {shown(name)} sends {shown(command)}: popwatch does not."
        for command in commands
        if command not in OWN_COMMANDS
    ]


def _names_of(block: Block, prefix: str = "") -> set[str]:
    """The names in a block and in its inner blocks, as paths."""
    inner = (_names_of(value, f"{prefix}{name}.") for name, value in block.items() if isinstance(value, Block))
    return {f"{prefix}{name}" for name in block}.union(*inner)
