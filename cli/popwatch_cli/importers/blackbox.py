"""Targets from Prometheus with blackbox_exporter: the jobs of a prometheus.yml, or a file of file_sd.

A job of a prometheus.yml is imported if its module tests POP3: by its configuration if a blackbox.yml is given, or else
by its name. A target of file_sd, which has no module, is imported if its port is one of POP3's.
Reference: https://github.com/prometheus/blackbox_exporter, CONFIGURATION.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.files.yaml import Block, read_blocks
from popwatch_cli.importers.conversion import (
    POP3_PORTS,
    TEST_SECONDS,
    Imported,
    Notes,
    bounded,
    delays,
    seconds,
    slug,
    split_address,
)
from popwatch_cli.target_items import shown

KNOWN_IN_JOB = {"job_name", "params", "static_configs", "scrape_interval", "metrics_path", "scheme"}
"""What is imported from a job, or configures how Prometheus reaches the exporter."""

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

USUAL_LABELS = {"__param_target", "instance", "__address__"}
"""The labels that the relabelling in blackbox_exporter's README sets: it only redirects Prometheus to the exporter."""


@dataclass(frozen=True, slots=True)
class Module:
    """What is known of a module of blackbox_exporter; `unsupported` are its settings without an equivalent."""

    name: str = ""
    tls: TlsMode | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    is_pop3: bool = False
    unsupported: Sequence[str] = ()


def read_blackbox(text: str, modules_text: str | None = None) -> Imported:
    """The POP3 targets of a prometheus.yml or of a file of file_sd. Raises FileError."""
    notes = Notes()
    modules = read_modules(modules_text, notes) if modules_text is not None else None
    root = read_blocks(text)
    if isinstance(root, list):
        return Imported(list(_groups(root, Module(), "", {}, notes)), notes)
    if not isinstance(root, Block) or not isinstance(root.get("scrape_configs"), list):
        raise FileError(["The file is neither a prometheus.yml with `scrape_configs` nor a list for file_sd."])
    shared = root.get("global")
    settings = shared if isinstance(shared, Block) else Block({}, 0, {})
    for block, known in ((root, {"global", "scrape_configs"}), (settings, {"scrape_interval"})):
        for name in block.keys() - known:
            notes.add(block.line_of(name), f"`{shown(name)}` is not imported: only jobs are.")
    entries = [entry for job in root["scrape_configs"] for entry in _job(job, settings, modules, notes)]
    return Imported(entries, notes)


def read_modules(text: str, notes: Notes) -> dict[str, Module]:
    """The modules of a blackbox.yml. Raises FileError."""
    root = read_blocks(text)
    modules = root.get("modules") if isinstance(root, Block) else None
    if not isinstance(modules, Block):
        raise FileError(["The file of modules is not a blackbox.yml: it has no map `modules`."])
    return {name: _module(name, body, notes) for name, body in modules.items() if isinstance(body, Block)}


def _module(name: str, body: Block, notes: Notes) -> Module:
    tcp = body.get("tcp")
    if body.get("prober") != "tcp" or not isinstance(tcp, Block):
        return Module(name)
    steps = [step for step in tcp.get("query_response") or [] if isinstance(step, Block)]
    expected = " ".join(str(step.get("expect", "")) for step in steps)
    starttls = any(step.get("starttls") is True for step in steps)
    tls = TlsMode.NONE
    if starttls:
        tls = TlsMode.STARTTLS
    elif tcp.get("tls") is True:
        tls = TlsMode.IMPLICIT
    fields: dict[str, object] = {}
    if "timeout" in body:
        line = body.line_of("timeout")
        fields["max_test_seconds"] = bounded(
            seconds(body["timeout"], line, "timeout"), TEST_SECONDS, line, "timeout", notes
        )
    config = tcp.get("tls_config")
    if isinstance(config, Block):
        if config.get("insecure_skip_verify") is True:
            fields["verify_tls"] = False
        if config.get("server_name"):
            fields["tls_name"] = str(config["server_name"])
        if config.get("min_version") in TLS_VERSIONS:
            fields["tls_min"] = TLS_VERSIONS[str(config["min_version"])]
    unsupported = sorted(_names_of(body) - KNOWN_IN_MODULE)
    return Module(name, tls, fields, "OK" in expected or _has_pop3_name(name), unsupported)


def _names_of(block: Block, prefix: str = "") -> set[str]:
    """The names in a block and in its inner blocks, as paths."""
    inner = (_names_of(value, f"{prefix}{name}.") for name, value in block.items() if isinstance(value, Block))
    return {f"{prefix}{name}" for name in block}.union(*inner)


def _has_pop3_name(name: str) -> bool:
    return "pop3" in name.lower()


def _job(job: object, settings: Block, modules: Mapping[str, Module] | None, notes: Notes) -> Iterator[FileEntry]:
    if not isinstance(job, Block):
        raise FileError(["Each entry of `scrape_configs` must be a map with `job_name`."])
    name = str(job.get("job_name") or "")
    module = _module_of(job, modules)
    if module is None:
        notes.add(job.line, f"The job {shown(name)} is not imported: it has no module for POP3.")
        return
    if modules is None:
        notes.add(
            job.line, f"The settings of the module {shown(module.name)} are unknown: give blackbox.yml with --modules."
        )
    for path in module.unsupported:
        notes.add(job.line, f"`{shown(path)}` of the module {shown(module.name)} has no equivalent.")
    _note_unsupported(job, notes)
    fields = dict(module.fields)
    for source in (job, settings):
        if "scrape_interval" in source:
            line = source.line_of("scrape_interval")
            interval = seconds(source["scrape_interval"], line, "scrape_interval")
            fields |= delays(interval, line, "scrape_interval", notes)
            break
    groups = job.get("static_configs")
    yield from _groups(groups if isinstance(groups, list) else [], module, name, fields, notes)


def _module_of(job: Block, modules: Mapping[str, Module] | None) -> Module | None:
    """The module of a job, or None if it does not test POP3."""
    parameters = job.get("params")
    names = parameters.get("module") if isinstance(parameters, Block) else None
    name = str(names[0]) if isinstance(names, list) and names else ""
    module = Module(name, is_pop3=_has_pop3_name(name)) if modules is None else modules.get(name, Module(name))
    return module if module.is_pop3 else None


def _note_unsupported(job: Block, notes: Notes) -> None:
    parameters = job["params"]
    for name in parameters.keys() - {"module"}:
        notes.add(parameters.line_of(name), f"The parameter `{shown(name)}` has no equivalent.")
    for name in job.keys() - KNOWN_IN_JOB:
        line = job.line_of(name)
        if name == "relabel_configs":
            rules = job[name] if isinstance(job[name], list) else []
            labels = {str(rule.get("target_label")) for rule in rules if isinstance(rule, Block)}
            if not labels <= USUAL_LABELS:
                notes.add(line, "`relabel_configs` are not applied: check the names and groups of the targets.")
        elif name.endswith("_sd_configs"):
            notes.add(line, f"`{shown(name)}` is not imported: import each file of file_sd separately.")
        else:
            notes.add(line, f"`{shown(name)}` has no equivalent.")


def _groups(
    groups: list[Any], module: Module, job: str, fields: Mapping[str, object], notes: Notes
) -> Iterator[FileEntry]:
    """The targets of groups, as in static_configs and in file_sd."""
    for group in groups:
        if not isinstance(group, Block) or not isinstance(group.get("targets"), list):
            raise FileError([f"Line {_line(group)}: a group of targets must be a map with a list `targets`."])
        labels = group.get("labels")
        labels = labels if isinstance(labels, Block) else Block({}, 0, {})
        for name in labels:
            if name.startswith("__"):
                notes.add(labels.line_of(name), f"The label `{shown(name)}` has no equivalent.")
        shared = dict(fields)
        if job:
            shared["group"] = job
        if tags := [f"{name}={value}" for name, value in labels.items() if not name.startswith("__")]:
            shared["tags"] = tags
        line = group.line_of("targets")
        for address in map(str, group["targets"]):
            server = _server(address, module)
            if server is None:
                notes.add(line, f"{shown(address)} is not imported: POP3 is at port 110 or 995.")
            else:
                yield FileEntry(line, {"target_id": slug(address), "name": address, **server, **shared})


def _server(address: str, module: Module) -> dict[str, object] | None:
    """Host, port and TLS of an address, or None if neither the module nor the port is POP3's."""
    host, port = split_address(address)
    if not module.is_pop3 and port not in POP3_PORTS:
        return None
    tls = module.tls or POP3_PORTS.get(port or 110, TlsMode.NONE)
    default_port = 995 if tls is TlsMode.IMPLICIT else 110
    return {"host": host, "port": port or default_port, "tls": tls.value}


def _line(value: object) -> int:
    return value.line if isinstance(value, Block) else 1
