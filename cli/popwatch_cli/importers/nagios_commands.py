"""What a command of Nagios tests: its macros replaced, and the options of check_pop, check_spop and check_tcp.

Macros: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/macrolist.html. Options:
https://github.com/monitoring-plugins/monitoring-plugins, plugins/check_tcp.c and lib/utils_tcp.c. There `-e` replaces
`+OK` as what is expected, anywhere in the reply; of several one is enough, unless `-A` is given. `-S` does not change
the port, and check_pop's is 110.
"""

import getopt
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from popwatch.model.fields import Family, TlsMode
from popwatch_cli.importers.conversion import POP3_PORTS, TEST_SECONDS, Budget, ImportWarnings, Place, bounded
from popwatch_cli.importers.nagios_objects import Definition
from popwatch_cli.target_items import shown

USUAL_COMMANDS = {
    "check_pop": "check_pop -H $HOSTADDRESS$ $ARG1$ $ARG2$ $ARG3$ $ARG4$",
    "check_spop": "check_spop -H $HOSTADDRESS$ $ARG1$ $ARG2$ $ARG3$ $ARG4$",
    "check_tcp": "check_tcp -H $HOSTADDRESS$ -p $ARG1$ $ARG2$ $ARG3$ $ARG4$",
}
"""The definitions that come with Nagios and with the plugins, for files that define none of their own."""

PLUGINS = set(USUAL_COMMANDS)

WRAPPERS = {"sudo", "doas", "env", "nice", "ionice", "nohup", "setsid", "time", "timeout"}
"""Programs that run a command as it is, on the same machine."""

SHORT = "H:p:w:c:t:46SD:e:Es:q:r:M:m:d:jvAVhC:W:P:"
LONG = {
    "hostname=": "H", "port=": "p", "warning=": "w", "critical=": "c", "timeout=": "t", "use-ipv4": "4",
    "use-ipv6": "6", "ssl": "S", "certificate=": "D", "expect=": "e", "send=": "s", "quit=": "q", "refuse=": "r",
    "mismatch=": "M", "maxbytes=": "m", "delay=": "d", "hide-output": "j", "jail": "j", "verbose": "v", "all": "A",
    "sni=": "sni", "escape": "E", "warning-codes=": "W", "critical-codes=": "C", "protocol=": "P",
    "output-format=": "o",
}  # fmt: skip
"""The options of check_tcp (monitoring-plugins 2.4 and 3.0); the long ones with the letter of the short one."""

OLD_OPTIONS = {"-to": "-t", "-wt": "-w", "-ct": "-c"}
"""Spellings that check_tcp still accepts."""

WITHOUT_EQUIVALENT = set("sqrMmdCWPE")
TIMES = {"w": "slow_rtt_ms", "c": "max_rtt_ms"}
"""Options in seconds: slower is a warning, or fails."""

RTT_SECONDS = (0, 60)
FAMILIES = {"4": Family.IPV4, "6": Family.IPV6}

LONGEST_COMMAND = 10_000
"""Characters that the macros of a command line may add to it."""

_MACRO = re.compile(r"\$([\w:.-]*)\$")
_USER = re.compile(r"USER\d+")


class NotImported(Exception):
    """Why a command is not imported, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Command:
    """The program of a command line without its folder, its arguments, and what stands before it, such as `sudo`."""

    program: str
    words: Sequence[str]
    before: Sequence[str] = ()


def parse_command(
    written: str, commands: Mapping[str, str], service: Definition, host: Definition, budget: Budget
) -> Command:
    """The command line that a `check_command` runs, its macros replaced. Raises NotImported."""
    name, *arguments = (part.replace("\\!", "!") for part in re.split(r"(?<!\\)!", written))
    name = name.strip()
    line = commands.get(name)
    if not name:
        raise NotImported("it has no `check_command`")
    if line is None and "/" not in name:
        raise NotImported("its command is not defined here; give the file that defines it too")
    try:
        macros = macros_of(service, host)
        given = {f"ARG{number}": replaced(text, macros) for number, text in enumerate(arguments, start=1)}
        whole = replaced(name if line is None else line, dict.fromkeys(_missing(line), "") | given | macros)
        budget.spend(len(whole))
    except ValueError as error:
        raise NotImported(str(error)) from None
    try:
        words = shlex.split(whole)
    except ValueError:
        raise NotImported(
            "its command line has a quote without its end, or ends with a backslash; `;` begins a comment in quotes, "
            r"too, so write `\;`"
        ) from None
    return _without_wrapper(words) if words else Command("", [])


def has_unused_arguments(written: str, commands: Mapping[str, str]) -> bool:
    """Whether a `check_command` has arguments for which the command's definition has no macro."""
    name, *arguments = re.split(r"(?<!\\)!", written)
    used = {macro.upper() for macro in _MACRO.findall(commands.get(name.strip(), ""))}
    return any(text.strip() and f"ARG{number}" not in used for number, text in enumerate(arguments, start=1))


def _without_wrapper(words: Sequence[str]) -> Command:
    """The plugin that a command line runs, maybe by a program of `WRAPPERS`. Raises NotImported."""
    names = [word.rpartition("/")[2] for word in words]
    place = next((place for place, name in enumerate(names) if name in PLUGINS), 0)
    if not _only_wraps(words[:place]):
        raise NotImported(f"it runs {names[place]} by {shown(names[0])}, maybe on another machine")
    return Command(names[place], words[place + 1 :], tuple(words[:place]))


def _only_wraps(words: Sequence[str]) -> bool:
    """Whether words before a plugin are programs of `WRAPPERS`, with options, variables and numbers for them."""
    return all(
        word.rpartition("/")[2] in WRAPPERS
        or word[:1] == "-"
        or "=" in word
        or word[:1].isdecimal()
        or option[:1] == "-"
        for option, word in zip(["", *words], words, strict=False)
    )


def parse_options(command: Command, place: Place, warnings: ImportWarnings) -> dict[str, object]:
    """The fields of the target that a plugin's options describe, with warnings on others. Raises NotImported."""
    if command.before:
        named = [name for word in command.before if (name := word.rpartition("/")[2]) in WRAPPERS]
        programs = " ".join(named or [word.partition("=")[0] for word in command.before if "=" in word])
        sentence = f"`{programs}` before {command.program} is left out, with its arguments: popwatch needs none."
        warnings.add(place, sentence)
    try:
        words = [OLD_OPTIONS.get(word, word) for word in command.words]
        options, rest = getopt.gnu_getopt(words, SHORT, [*LONG])
    except getopt.GetoptError as error:
        raise NotImported(shown(str(error))) from None
    return _Options([(_letter(option), value) for option, value in options], rest, place, warnings).fields(
        command.program
    )


class _Options:
    """The options of one command line."""

    def __init__(
        self, options: Sequence[tuple[str, str]], rest: Sequence[str], place: Place, warnings: ImportWarnings
    ) -> None:
        self._given = dict(options)
        self._expected = [value for letter, value in options if letter == "e"]
        self._rest, self._place, self._warnings = list(rest), place, warnings

    def fields(self, plugin: str) -> dict[str, object]:
        """The fields of a target, of which some may be mistakes still. Raises NotImported."""
        given = self._given
        secure = plugin == "check_spop" or not {"S", "D", "sni"}.isdisjoint(given)
        port = given.get("p") or {"check_pop": "110", "check_spop": "995"}.get(plugin, "")
        is_pop3 = plugin != "check_tcp" or any("+OK" in text for text in self._expected)
        if not is_pop3 and port not in map(str, POP3_PORTS):
            raise NotImported(f"check_tcp at port {shown(port)} may be anything: POP3 is at port 110 or 995")
        if "p" not in given and secure and plugin == "check_pop":
            self._warn("Without -p the plugin tests port 110 with TLS, and so will popwatch: is -p 995 meant?")
        if port == "995" and not secure:
            secure = True
            self._warn("The test of port 995 will use TLS, as POP3 does at that port.")
        fields: dict[str, object] = {"host": given.get("H") or (self._rest.pop(0) if self._rest else ""), "port": port}
        if secure:
            fields["tls"] = TlsMode.IMPLICIT.value
            self._warn("The certificate will be verified, unlike by the plugin; `verify_tls: false` switches that off.")
        if "t" in given:
            fields["max_test_seconds"] = self._seconds(given["t"])
        fields |= {name: self._milliseconds(letter) for letter, name in TIMES.items() if letter in given}
        if "D" in given:
            fields["certificate_warn_days"] = [days for days in given["D"].split(",") if days]
        if "sni" in given:
            fields["tls_name"] = given["sni"]
        if expect := self._expect():
            fields["expect"] = expect
        if families := given.keys() & FAMILIES.keys():
            fields["family"] = FAMILIES[families.pop()].value
        _refuse_macros(fields)
        for letter in given.keys() & WITHOUT_EQUIVALENT:
            self._warn(f"`-{letter}` in the command has no equivalent.")
        if self._rest:  # without their words, of which one may be a password
            self._warn("The command has arguments that belong to no option: they have no equivalent.")
        return fields

    def _expect(self) -> list[str]:
        """The texts of `-e` that a greeting must contain beside `+OK`."""
        texts = [text for text in dict.fromkeys(self._expected) if text != "+OK"]
        if not texts:
            return []
        if len(self._expected) > 1 and "A" not in self._given:
            if len(texts) == len(set(self._expected)):
                self._warn("One of the texts of -e is enough for the plugin: set `expect`, which must all be there.")
            else:
                self._warn(
                    "+OK is enough for the plugin, and so is another text of -e: if a server says that, set `greeting`."
                )
            return []
        if not any("+OK" in text for text in self._expected):
            self._warn("`-e` becomes `expect`; beside it the greeting must begin with +OK, unlike for the plugin.")
        return texts

    def _seconds(self, text: str) -> object:
        try:
            return bounded(float(text), TEST_SECONDS, self._place, "-t", self._warnings)
        except ValueError:
            return text

    def _milliseconds(self, letter: str) -> object:
        try:
            return bounded(float(self._given[letter]), RTT_SECONDS, self._place, f"-{letter}", self._warnings) * 1000
        except ValueError:
            return self._given[letter]

    def _warn(self, sentence: str) -> None:
        self._warnings.add(self._place, sentence)


def _refuse_macros(fields: Mapping[str, object]) -> None:
    """Raise NotImported if a field has a macro whose value is not known."""
    for value in fields.values():
        for macro in _MACRO.findall(str(value)):
            if _USER.fullmatch(macro):
                raise NotImported(f"it needs `${macro}$` of resource.cfg, which may hold passwords and is not read")
            raise NotImported(f"the macro `${shown(macro)}$` has no value here")


def macros_of(service: Definition, host: Definition) -> dict[str, str]:
    """The macros of a service and its host whose values are in the files."""
    name, description = host.values.get("host_name", ""), service.values.get("service_description", "")
    return (
        {"HOSTADDRESS": host.values.get("address", name), "HOSTNAME": name, "": "$"}
        | {"HOSTALIAS": host.values.get("alias", name), "HOSTDISPLAYNAME": host.values.get("display_name", name)}
        | {"SERVICEDESC": description, "SERVICEDISPLAYNAME": service.values.get("display_name", description)}
        | {f"_HOST{key[1:].upper()}": value for key, value in host.values.items() if key.startswith("_")}
        | {f"_SERVICE{key[1:].upper()}": value for key, value in service.values.items() if key.startswith("_")}
    )


def _missing(line: str | None) -> list[str]:
    """The macros of arguments in a command line: Nagios replaces those that are not given by nothing."""
    return [name for name in _MACRO.findall(line or "") if re.fullmatch(r"ARG\d+", name)]


def replaced(text: str, values: Mapping[str, str]) -> str:
    """A text with its macros replaced, `$$` by `$`; unknown ones remain. Raises ValueError if it would be too long."""
    found = [values.get(name.upper(), "") for name in _MACRO.findall(text)]
    if sum(map(len, found)) > LONGEST_COMMAND:
        raise ValueError("its macros make it too long")
    return _MACRO.sub(lambda macro: values.get(macro[1].upper(), macro[0]), text)


def _letter(option: str) -> str:
    """The letter of an option, which may be written in its long form."""
    long = option.removeprefix("--")
    return LONG.get(f"{long}=") or LONG.get(long) or option[1:]
