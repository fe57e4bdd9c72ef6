"""Targets from Prometheus with blackbox_exporter: the jobs of a prometheus.yml, or files of file_sd.

A target of a job is what relabelling makes of it: the exporter tests what the parameter `target` says, with the module
that the parameter `module` names. A target of a file of file_sd alone, which has no module, is imported if its port is
one of POP3's.
Reference: https://github.com/prometheus/blackbox_exporter, README.md and CONFIGURATION.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.files.target_files import read_given, read_text
from popwatch_cli.files.yaml import Block, read_blocks
from popwatch_cli.importers.blackbox_modules import Module, ModuleKind, read_modules, unknown_module
from popwatch_cli.importers.conversion import (
    LONGEST_IMPORTED_NAME,
    POP3_PORTS,
    Budget,
    Ids,
    Imported,
    ImportWarnings,
    Place,
    delays,
    seconds,
    slug,
    split_address,
    without_mistakes,
)
from popwatch_cli.importers.relabelling import NotApplicable, Rule, parse_rule
from popwatch_cli.target_items import shown, whole

KNOWN_IN_JOB = {
    "job_name", "params", "static_configs", "file_sd_configs", "relabel_configs", "scrape_interval", "metrics_path",
    "scheme",
}  # fmt: skip
"""What is imported from a job, or configures how Prometheus reaches the exporter."""

EQUIVALENTS = {"scrape_timeout": "is not imported: the `timeout` of the module is, as `max_test_seconds`."}
"""Settings of a job that are not imported, with what is instead."""

EXPORTER_PORT = 9115
MAX_FILES = 1000
"""Files that a pattern of `file_sd_configs` may name."""

_NO_LABELS = Block({}, 0, {})


def read_blackbox(paths: Sequence[Path], modules: Path | None = None) -> Imported:
    """The POP3 targets of files: prometheus.yml, or files of file_sd. Raises FileError."""
    warnings = ImportWarnings()
    known = None if modules is None else read_modules(read_given(modules), str(modules), warnings)
    reader = Reader(known, warnings)
    entries: list[FileEntry] = []
    for path in paths:
        file = str(path) if len(paths) > 1 else ""
        try:
            entries += reader.read(_blocks(path, read_given(path)), file, path.parent)
        except FileError as error:
            raise FileError([f"{file}: {mistake}" if file else mistake for mistake in error.mistakes]) from None
    return Imported(without_mistakes(entries, warnings), warnings)


@dataclass(frozen=True, slots=True)
class Job:
    """A job, with what is the same for all of its targets."""

    block: Block
    name: str
    file: str
    rules: Sequence[Rule]
    parameters: Mapping[str, str]
    fields: Mapping[str, object]

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place(self.file, self.block.line)


class Reader:
    """Reads files; ids are unique in all of them together."""

    def __init__(self, modules: Mapping[str, Module] | None, warnings: ImportWarnings) -> None:
        self._modules, self._warnings = modules, warnings
        self._budget, self._ids = Budget(), Ids()
        self._known: dict[tuple[Any, ...], Place] = {}

    def read(self, root: Any, file: str, folder: Path) -> list[FileEntry]:
        """The targets of a file, whose content is `root`. Raises FileError."""
        if isinstance(root, list):
            return [entry for found in _groups(root, file, self._warnings) for entry in self._by_port(*found)]
        if isinstance(root, Block) and "modules" in root:
            raise FileError(["The file defines modules: give it with --modules, beside a prometheus.yml."])
        if not isinstance(root, Block) or not isinstance(root.get("scrape_configs"), list):
            raise FileError(["The file is neither a prometheus.yml with `scrape_configs` nor a list for file_sd."])
        shared = root.get("global")
        settings = shared if isinstance(shared, Block) else _NO_LABELS
        for block, known in ((root, {"global", "scrape_configs"}), (settings, {"scrape_interval"})):
            for name in block.keys() - known:
                self._warnings.add(Place(file, block.line_of(name)), _not_a_job(name))
        return [
            entry for block in root["scrape_configs"] for entry in self._job(block, settings, root.line, file, folder)
        ]

    def _job(self, block: object, settings: Block, line: int, file: str, folder: Path) -> Iterator[FileEntry]:
        if not isinstance(block, Block):
            self._warnings.add(Place(file, line), "An entry of `scrape_configs` is not a map with `job_name`.")
            return
        job = self._parsed(block, settings, file)
        if job is None:
            return
        if not any(rule.target_label == "__param_module" or rule.action == "labelmap" for rule in job.rules):
            module = self._module(job.parameters.get("__param_module", ""))
            if module.kind is ModuleKind.OTHER:
                self._warnings.add(job.place, f"The job {shown(job.name)} is not imported: {module.reason}.")
                return
        self._warn_of_unsupported(job)
        groups = block.get("static_configs")
        found = list(_groups(groups if isinstance(groups, list) else [], file, self._warnings))
        for config in _list(block.get("file_sd_configs")):
            found += self._file_sd(config, job, folder)
        if not found:
            self._warnings.add(job.place, f"The job {shown(job.name)} is not imported: it has no targets here.")
        for place, address, labels in found:
            yield from self._by_rules(job, place, address, labels)

    def _parsed(self, block: Block, settings: Block, file: str) -> Job | None:
        """The job of a block; None, with a warning, if its rules cannot be applied."""
        name = str(block.get("job_name") or "")
        parameters = block.get("params")
        parameters = parameters if isinstance(parameters, Block) else _NO_LABELS
        first = {
            f"__param_{key}": str(value[0]) for key, value in parameters.items() if isinstance(value, list) and value
        }
        rules: list[Rule] = []
        for entry in _list(block.get("relabel_configs")):
            try:
                rules.append(parse_rule(entry))
            except NotApplicable as error:
                place = Place(file, entry.line if isinstance(entry, Block) else block.line_of("relabel_configs"))
                for about in (Place(file, block.line), place):
                    sentence = f"The job {shown(name)} is not imported: a rule cannot be applied: {error}."
                    self._warnings.add(about, sentence)
                return None
        fields: dict[str, object] = {}
        for source in (block, settings):
            if "scrape_interval" in source:
                place = Place(file, source.line_of("scrape_interval"))
                try:
                    interval = seconds(source["scrape_interval"], "scrape_interval")
                    fields = delays(interval, place, "scrape_interval", self._warnings)
                except ValueError as error:
                    self._warnings.add(place, f"{error}; popwatch's own delays apply.")
                break
        return Job(block, name, file, rules, first, fields)

    def _module(self, name: str) -> Module:
        if not name:
            return Module(reason="it has no module for POP3")
        if self._modules is None:
            return unknown_module(name)
        return self._modules.get(name) or Module(name, reason=f"its module {shown(name)} is not in the file of modules")

    def _warn_of_unsupported(self, job: Job) -> None:
        parameters = job.block.get("params")
        parameters = parameters if isinstance(parameters, Block) else _NO_LABELS
        for name, values in parameters.items():
            place = Place(job.file, parameters.line_of(name))
            if name not in ("module", "target"):
                self._warnings.add(place, f"The parameter `{shown(name)}` has no equivalent.")
            elif isinstance(values, list) and len(values) > 1:
                self._warnings.add(place, f"Of `{name}` only the first is imported, as the exporter uses only that.")
        for name in job.block.keys() - KNOWN_IN_JOB:
            what = "popwatch has no service discovery; import a file of file_sd with these targets."
            sentence = f"`{shown(name)}` is not imported: {what}"
            if not name.endswith("_sd_configs"):
                sentence = f"`{shown(name)}` {EQUIVALENTS.get(name, 'has no equivalent.')}"
            self._warnings.add(Place(job.file, job.block.line_of(name)), sentence)

    def _file_sd(self, config: object, job: Job, folder: Path) -> list[tuple[Place, str, Block]]:
        """The targets of the files that a `file_sd_configs` names."""
        found: list[tuple[Place, str, Block]] = []
        place = Place(job.file, job.block.line_of("file_sd_configs"))
        for pattern in _list(config.get("files")) if isinstance(config, Block) else ():
            # as in Prometheus, only the name may be a pattern, so no more than one folder is looked through
            path = folder / str(pattern)
            try:
                files = sorted(path.parent.glob(path.name))[:MAX_FILES]
                if not files:
                    raise FileError(["it does not exist here."])
                for file in files:
                    root = _blocks(file, read_text(file))
                    found += _groups(root if isinstance(root, list) else [root], str(file), self._warnings)
            except (FileError, OSError, ValueError, NotImplementedError) as error:
                self._warnings.add(place, f"{shown(str(pattern))} is not read: {whole(str(error))}")
        return found

    def _by_port(self, place: Place, address: str, labels: Block) -> Iterator[FileEntry]:
        """The target of a file of file_sd, if its port is POP3's."""
        host, port = split_address(address)
        if port not in POP3_PORTS:
            self._warnings.add_not_imported(place, shown(address), "POP3 is at port 110 or 995.")
            return
        for name in labels:
            if name.startswith("__"):
                self._warnings.add(
                    Place(place.file, labels.line_of(name)), f"The label `{shown(name)}` has no equivalent."
                )
        server = {"host": host, "port": port, "tls": POP3_PORTS[port].value}
        yield from self._entry(place, address, server, {name: str(value) for name, value in labels.items()})

    def _by_rules(self, job: Job, place: Place, address: str, written: Block) -> Iterator[FileEntry]:
        """The target that the exporter tests for an address of a job, if it tests POP3."""
        labels: dict[str, str] | None = {
            "job": job.name, "__scheme__": "http", "__metrics_path__": "/metrics", "__meta_filepath": place.file,
            **job.parameters, **{name: str(value) for name, value in written.items()}, "__address__": address,
        }  # fmt: skip
        for rule in job.rules:
            try:
                labels = rule.apply(labels or {}, self._budget)
            except NotApplicable as error:
                self._warnings.add_not_imported(place, shown(address), f"a rule cannot be applied: {error}.")
                return
            if labels is None:
                self._warnings.add_not_imported(place, shown(address), "`relabel_configs` drop it.")
                return
        labels = labels or {}
        target, module = labels.get("__param_target", ""), self._module(labels.get("__param_module", ""))
        if not target:
            target = labels.get("__address__", "")
            if split_address(target)[1] == EXPORTER_PORT:
                self._warnings.add(place, f"{shown(target)} is not imported: it is the exporter; there is no `target`.")
                return
            sentence = f"No rule of the job {shown(job.name)} sets `__param_target`: the address itself is imported."
            self._warnings.add(job.place, sentence)
        server = _server(target, module)
        if server is None:
            reason = module.reason or "POP3 is at port 110 or 995"
            self._warnings.add_not_imported(place, shown(target), f"{reason}.", shown(job.name))
            return
        for remark in module.remarks:
            self._warnings.add(job.place, remark)
        if module.kind is ModuleKind.ANYTHING and module.tls is None and server["tls"] == TlsMode.IMPLICIT:
            self._warnings.add(
                place,
                f"{shown(target)}: the exporter uses no TLS here; popwatch will, as POP3 does at port 995, and verify "
                "the certificate. `verify_tls: false` switches that off.",
            )
        yield from self._entry(place, target, {**server, **module.fields, **job.fields}, labels)

    def _entry(
        self, place: Place, address: str, fields: Mapping[str, object], labels: Mapping[str, str]
    ) -> Iterator[FileEntry]:
        """An entry; none, with a warning, for one that has the same labels, which Prometheus, too, tests only once."""
        group, name = labels.get("job", ""), labels.get("instance") or address
        tags = [
            f"{label}={value}"
            for label, value in labels.items()
            if not label.startswith("__") and label not in ("job", "instance")
        ]
        identity = (address, group, name, *sorted(tags))
        if identity in self._known:
            first = self._known[identity]
            sentence = f"{shown(address)} is listed twice: here and at {f'{first.file} line {first.line}'.strip()}."
            self._warnings.add(place, sentence)
            return
        self._known[identity] = place
        if len(name) > LONGEST_IMPORTED_NAME:
            self._warnings.add(place, f"The name is cut to {LONGEST_IMPORTED_NAME} characters: {shown(name)}")
        entry: dict[str, object] = {
            "target_id": self._ids.new(slug(address), slug(group)),
            "name": name[:LONGEST_IMPORTED_NAME],
            **fields,
        }
        if group:
            entry["group"] = group
        if tags:
            entry["tags"] = tags
        yield FileEntry(place.line, entry, file=place.file)


def _blocks(path: Path, text: str) -> Any:
    """What a file of YAML or JSON holds; in JSON a tab is only between values (RFC 8259 sections 2 and 7)."""
    return read_blocks(text.replace("\t", " ") if path.suffix == ".json" else text)


def _groups(groups: Sequence[Any], file: str, warnings: ImportWarnings) -> Iterator[tuple[Place, str, Block]]:
    """The targets of groups, as in static_configs and in file_sd: each with its line and its labels."""
    for group in groups:
        if not isinstance(group, Block) or not isinstance(group.get("targets"), list):
            line = group.line if isinstance(group, Block) else 1
            warnings.add(
                Place(file, line), "A group of targets is not imported: it must be a map with a list `targets`."
            )
            continue
        labels = group.get("labels")
        for address in map(str, group["targets"]):
            yield Place(file, group.line_of("targets")), address, labels if isinstance(labels, Block) else _NO_LABELS


def _server(address: str, module: Module) -> dict[str, object] | None:
    """Host, port and TLS of an address, or None if neither the module nor the port is POP3's."""
    host, port = split_address(address)
    if module.kind is ModuleKind.OTHER or (module.kind is ModuleKind.ANYTHING and port not in POP3_PORTS):
        return None
    tls = module.tls or POP3_PORTS.get(port or 110, TlsMode.NONE)
    default_port = 995 if tls is TlsMode.IMPLICIT else 110
    return {"host": host, "port": port or default_port, "tls": tls.value}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _not_a_job(name: str) -> str:
    if name == "scrape_config_files":
        return f"`{name}` is not read: give the files that it names, too, if they have jobs of POP3."
    return f"`{shown(name)}` is not imported: only jobs are."
