"""Files of other monitors: what becomes a target, what is not imported, and what a hostile file cannot do."""

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from popwatch.model.fields import TlsMode
from popwatch.model.targets import Target, parse_target
from popwatch_cli.files.entries import FileError
from popwatch_cli.importers import blackbox, nagios
from popwatch_cli.importers.conversion import Imported, seconds, split_address
from popwatch_cli.importers.monitors import read_monitor_files
from popwatch_cli.target_items import all_mistakes

SAMPLES = Path(__file__).parents[1] / "samples"


def read_nagios(text: str) -> Imported:
    """The import of one file with this text."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "nagios.cfg"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return nagios.read_nagios([path])


def read_blackbox(text: str, modules_text: str | None = None) -> Imported:
    """The import of one file with this text, and maybe of a file of modules."""
    with TemporaryDirectory() as folder:
        path, modules = Path(folder) / "prometheus.yml", Path(folder) / "blackbox.yml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        modules.write_text(modules_text or "")
        return blackbox.read_blackbox([path], modules if modules_text is not None else None)


def targets(imported: Imported) -> dict[str, Target]:
    """The targets, none of which has a mistake."""
    assert all_mistakes(imported.entries, {}) == []
    return {str(entry.fields["target_id"]): parse_target(entry.fields) for entry in imported.entries}


def mistakes(read: Any, text: str) -> str:
    with pytest.raises(FileError) as caught:
        read(text)
    return "\n".join(caught.value.mistakes)


def host(name: str = "a", **directives: str) -> str:
    return define("host", host_name=name, address=f"{name}.example", **directives)


def service(command: str, **directives: str) -> str:
    return define("service", **({"host_name": "a"} | directives), service_description="POP", check_command=command)


def define(kind: str, **directives: str) -> str:
    lines = "".join(f"    {name}  {value}\n" for name, value in directives.items())
    return f"define {kind} {{\n{lines}}}\n"


class TestNagios:
    """Object configuration: hosts, services, groups, commands, templates."""

    def test_texts_of_which_one_is_enough(self) -> None:
        """Beside `+OK` another one would be enough as well: what is left out is said in both cases."""
        for texts, said in (("-e ALPHA -e BETA", "set `expect`"), ("-e +OK -e READY", "set `greeting`")):
            text = define("command", command_name="pop", command_line=f"/p/check_pop -H $HOSTADDRESS$ {texts}")
            imported = read_nagios(host() + text + service("pop"))
            assert [target.greeting for target in targets(imported).values()] == [()]
            [warning] = imported.warnings
            assert said in warning

    def test_sample(self) -> None:
        """Services of hosts and of host groups, with their templates and commands."""
        imported = read_monitor_files([SAMPLES / "nagios.cfg"], "nagios")
        found = targets(imported)
        assert set(found) == {"mail1-pop3", "mail2-pop3", "mail1-pop3s", "mail2-pop3-port"}
        plain, secure, port = found["mail1-pop3"], found["mail1-pop3s"], found["mail2-pop3-port"]
        assert (plain.name, plain.host, plain.port, plain.tls) == ("Mail Berlin POP3", "192.0.2.7", 110, TlsMode.NONE)
        assert (plain.policy.delay_up, plain.policy.delay_warn, plain.policy.delay_down) == (300, 60, 300)
        assert (plain.policy.slow_rtt_ms, plain.max_rtt_ms) == (2000, 5000)
        assert (plain.policy.failures_per_alert, plain.policy.alert_recovery, plain.group) == (4, True, "mail-admins")
        assert (secure.port, secure.tls, secure.policy.certificate_warn_days) == (995, TlsMode.IMPLICIT, (30, 14))
        assert (secure.policy.max_alerts, secure.policy.alert_recovery, secure.tags) == (1, False, ("pop-servers",))
        assert (port.host, port.max_test_seconds, port.policy.enabled) == ("pop.example.org", 20, False)

    @pytest.mark.parametrize("monitor", ["icinga", "naemon"])
    def test_the_same_language(self, monitor: str) -> None:
        """Icinga 1 and Naemon have that of Nagios."""
        found = [read_monitor_files([SAMPLES / "nagios.cfg"], name) for name in ("nagios", monitor)]
        assert targets(found[0]) == targets(found[1])
        assert list(found[0].warnings) == list(found[1].warnings)

    def test_sample_names_what_is_not_imported(self) -> None:
        """Each directive, option and service without an equivalent, with its line."""
        assert list(read_monitor_files([SAMPLES / "nagios.cfg"], "nagios").warnings) == [
            "Line 7: `notifications_enabled` is not imported: it belongs to the host's own check.",
            "Line 18: `parents` is not imported: set `depends_on` to the target that it depends on.",
            "Line 37: `notification_interval` is not imported: alerts repeat by failed tests, `max_alerts` times.",
            "Line 54: The certificate will be verified, unlike by the plugin; `verify_tls: false` switches that off.",
            "Line 57: Of `contact_groups` only mail-admins is imported, as `group`.",
            "Line 73: check_smtp is not imported: its command is not defined here; give the file that defines it too. "
            "Service: mail1 SMTP.",
        ]

    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ("check_pop", ("a.example", 110, TlsMode.NONE)),
            ("check_pop!-p 1110", ("a.example", 1110, TlsMode.NONE)),
            ("check_pop!-S", ("a.example", 110, TlsMode.IMPLICIT)),
            ("check_pop!-S -p 995", ("a.example", 995, TlsMode.IMPLICIT)),
            ("check_pop!--hostname=b.example!--port=8110", ("b.example", 8110, TlsMode.NONE)),
            ("check_spop", ("a.example", 995, TlsMode.IMPLICIT)),
            ("check_tcp!995", ("a.example", 995, TlsMode.IMPLICIT)),
            ("check_tcp!1110!-e '+OK'", ("a.example", 1110, TlsMode.NONE)),
            ("/usr/lib/nagios/plugins/check_spop -H b.example", ("b.example", 995, TlsMode.IMPLICIT)),
        ],
    )
    def test_commands(self, command: str, expected: tuple[str, int, TlsMode]) -> None:
        """Options by letter or name, programs by their path; a later option wins, as it does for the plugin."""
        [found] = targets(read_nagios(host() + service(command))).values()
        assert (found.host, found.port, found.tls) == expected

    @pytest.mark.parametrize(
        ("option", "family"), [("", "any"), ("-4", "ipv4"), ("-6", "ipv6"), ("--use-ipv4", "ipv4")]
    )
    def test_the_family_of_addresses(self, option: str, family: str) -> None:
        """`-4` and `-6` become the field, without a warning."""
        imported = read_nagios(host() + service(f"check_pop!-H b.example {option}"))
        [found] = targets(imported).values()
        assert found.family == family
        assert not list(imported.warnings)

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("check_tcp!25", "check_tcp is not imported: check_tcp at port 25 may be anything: POP3 is at port 110 or"),
            ("check_http!-S", "check_http is not imported: its command is not defined here; give the file"),
            ("check_nrpe!check_pop", "check_nrpe is not imported: its command is not defined here"),
            ("/bin/check_http -S", "it does not run check_pop, check_spop or check_tcp"),
            ("check_pop!-H $USER5$", "it needs `$USER5$` of resource.cfg, which may hold passwords and is not read"),
            ("check_pop!-p $HOSTNOTES$", "the macro `$HOSTNOTES$` has no value here"),
            ("check_pop!-p $$1", "The field `port` cannot be used: `$1` is not a number"),
            ("check_pop!--nonsense", "option --nonsense not recognized"),
            ("check_pop!-p", "option -p requires argument"),
            ("check_pop!'", "a quote without its end, or ends with a backslash; `;` begins a comment in quotes, too"),
            ("", "The service is not imported: it has no `check_command`"),
        ],
    )
    def test_commands_that_are_not_imported(self, command: str, said: str) -> None:
        """A command that is not POP3 or not understood is reported with its line."""
        imported = read_nagios(host() + service(command))
        assert list(imported.entries) == []
        assert [warning for warning in imported.warnings if said in warning and warning.startswith("Line 8: ")]

    def test_semicolons(self) -> None:
        """Also in quotes a `;` begins a comment, unless a backslash is before it: xdata/xodtemplate.c of Nagios."""
        kept = read_nagios(host() + service(r"check_pop!-e 'it\;s' ; a comment"))
        assert targets(kept)["a-pop"].expect == ("it;s",)
        cut = read_nagios(host() + service("check_pop!-e 'it;s'"))
        assert list(cut.entries) == []
        [said] = cut.warnings
        assert r"`;` begins a comment in quotes, too, so write `\;`. Service: a POP." in said

    def test_many_hosts_that_are_defined_elsewhere(self) -> None:
        """A user who gives only the services is warned once."""
        names = ",".join(f"h{number}" for number in range(5000))
        [said] = read_nagios(service("check_pop", host_name=names)).warnings
        first = ", ".join(f"h{number} (POP)" for number in range(10))
        assert said == f"Line 2: There is no host {first} and 4,990 more here: give the file that defines it too."

    def test_many_services_of_one_sentence(self) -> None:
        """A sentence on thousands of services names some of them and their number, also of services by a template."""
        many = "".join(
            define("service", host_name="a", service_description=f"S{number}", check_command="own!x")
            for number in range(5001)
        )
        [said] = read_nagios(host() + many).warnings
        assert said.startswith("Lines 8, 13, 18, 23, 28, 33, 38, 43, 48, 53 and 4,991 more: own is not imported: ")
        assert said.endswith(" Services: a S0, a S1, a S2, a S3, a S4, a S5, a S6, a S7, a S8, a S9 and 4,991 more.")
        template = define("service", name="t", register="0", check_command="own!x")
        [said] = read_nagios(host() + template + define("service", use="t", host_name="a")).warnings
        assert (said.partition(":")[0], said.rpartition(". ")[2]) == ("Line 8", "Service: a.")

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
    def test_wide_text(self, tmp_path: Path, encoding: str) -> None:
        """Other encodings of Unicode are named as such, with or without a byte order mark."""
        path = tmp_path / "nagios.cfg"
        path.write_bytes((host() + service("check_pop")).encode(encoding))
        with pytest.raises(FileError, match="is UTF-16 or UTF-32 text: save it as UTF-8"):
            nagios.read_nagios([path])

    def test_line_ends(self) -> None:
        """Lines may end as on any system."""
        text = host() + service("check_pop")
        for end in ("\r\n", "\r"):
            assert set(targets(read_nagios(text.replace("\n", end)))) == {"a-pop"}

    def test_notes(self) -> None:
        """Notes stay notes, the first address of the web is the runbook, and only what cannot be kept is named."""
        wiki, graphs = "https://wiki.example/$HOSTNAME$/$SERVICEDESC$", "http://graphs.example/a"
        mine = service("check_pop", notes="Old box, $HOSTALIAS$", notes_url=wiki, action_url=graphs)
        imported = read_nagios(host("a", alias="Mail A", notes="Rack 7", action_url="/pnp/graph?host=a") + mine)
        [found] = targets(imported).values()
        assert found.runbook == "https://wiki.example/a/POP"
        assert found.notes == "Old box, Mail A\nhttp://graphs.example/a\nRack 7"
        assert list(imported.warnings) == [
            "Line 6: `action_url` is not imported: it is not an address that begins with http:// or https://."
        ]

    def test_notes_of_the_host_alone(self) -> None:
        """A service without notes has those of its host, which are cut if they are too long for the field."""
        imported = read_nagios(host("a", notes="x" * 2001, notes_url="https://wiki.example/a b") + service("check_pop"))
        [found] = targets(imported).values()
        assert (found.runbook, found.notes) == ("", "x" * 2000)
        assert [warning.split(" is ")[0] for warning in imported.warnings] == [
            "Line 4: `notes` are cut to 2000 characters.",
            "Line 5: `notes_url`",
        ]

    @pytest.mark.parametrize(
        "text", ["$HOSTALIAS$" * 200, "https://a.example/" + "$HOSTALIAS$" * 200, "https://a.example/" + "b" * 600]
    )
    def test_notes_that_are_long(self, text: str) -> None:
        """They end no import."""
        long = host(alias="x" * 100, notes=text, notes_url=text, action_url=text)
        assert set(targets(read_nagios(long + service("check_pop")))) == {"a-pop"}

    @pytest.mark.parametrize(
        ("before", "programs"),
        [
            ("/usr/bin/sudo -u nagios", "sudo"),
            ("sudo", "sudo"),
            ("env LANG=C nice -n 5", "env nice"),
            ("/usr/bin/timeout 10", "timeout"),
            ("sudo -n -u nagios env -i", "sudo env"),
        ],
    )
    def test_programs_before_the_plugin(self, before: str, programs: str) -> None:
        """sudo and its like run the plugin as it is; that they are left out is said."""
        command = define("command", command_name="mine", command_line=f"{before} $USER1$/check_pop -H $HOSTADDRESS$")
        imported = read_nagios(host() + service("mine") + command)
        assert [found.host for found in targets(imported).values()] == ["a.example"]
        assert list(imported.warnings) == [
            f"Line 8: `{programs}` before check_pop is left out, with its arguments: popwatch needs none."
        ]

    @pytest.mark.parametrize(
        "text",
        [
            service("check_pop3_account!user!A$3cr3T!10"),
            service("check_pop!user A$3cr3T"),
            service("/usr/bin/check_pop3_login -u user -p A$3cr3T"),
            define("command", command_name="mine", command_line="check_pop3_login -p A$3cr3T")
            + service("mine!A$3cr3T"),
            define("command", command_name="mine", command_line="env P=A$3cr3T check_pop -H a") + service("mine"),
            "$USER3$=A$3cr3T\n",
            "password A$3cr3T\n",
            "define command { command_name x; command_line y -p A$3cr3T }\n}\n",
        ],
    )
    def test_no_argument_is_shown(self, text: str) -> None:
        """One may be a password, and what an import says stays in logs of CI."""
        warnings = list(read_nagios(host() + text).warnings)
        assert warnings
        assert not [warning for warning in warnings if "3cr3T" in warning]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("$USER1$/negate -u OK $USER1$/check_pop -H a", "it runs check_pop by negate, maybe on another machine"),
            ("sudo ssh b.example check_pop -H a", "it runs check_pop by sudo, maybe on another machine"),
            ("sudo -n ssh b.example check_pop -H a", "it runs check_pop by sudo, maybe on another machine"),
            ("check_nrpe -H b.example -c check_pop", "it runs check_pop by check_nrpe, maybe on another machine"),
        ],
    )
    def test_programs_that_may_run_the_plugin_elsewhere(self, line: str, said: str) -> None:
        """What they test is not what this machine would."""
        command = define("command", command_name="mine", command_line=line)
        imported = read_nagios(host() + service("mine") + command)
        assert list(imported.entries) == []
        assert list(imported.warnings) == [f"Line 8: mine is not imported: {said}. Service: a POP."]

    @pytest.mark.parametrize(
        "text",
        [
            'object Host "pop" {\n  address = "192.0.2.1"\n}\n',
            'apply Service "pop3" {\n}\n',
            "/* all */\napply Service for (x in y) {\n}\n",
        ],
    )
    def test_icinga_2(self, text: str) -> None:
        """Its language is another one: that is said, not that there are no targets."""
        assert "configuration of Icinga 2, which is not read" in mistakes(read_nagios, text)

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("servicedependency", "set `depends_on` to the target that it depends on."),
            ("serviceextinfo", "write its notes into the service itself."),
            ("timeperiod", "see `maintenance`."),
            ("contact", "only services are."),
        ],
    )
    def test_other_definitions(self, kind: str, said: str) -> None:
        """They are named, with what popwatch has instead."""
        assert list(read_nagios(define(kind, host_name="a")).warnings) == [
            f"Line 1: `define {kind}` is not imported: {said}"
        ]

    def test_options_become_fields(self) -> None:
        """Time limit, name for TLS, expected text, days of the certificate."""
        [found] = targets(read_nagios(host() + service("check_spop!-to 30 --sni=b.example -e READY -D 9"))).values()
        assert (found.max_test_seconds, found.tls_name, found.expect) == (30, "b.example", ("READY",))
        assert found.policy.certificate_warn_days == (9,)

    def test_templates(self) -> None:
        """The first template wins, `+` adds, `null` removes; warnings have the template's own line."""
        text = (
            define("service", name="one", check_interval="2", contact_groups="x", icon_image="i", register="0")
            + define("service", name="two", check_interval="3", retry_interval="3", register="0")
            + host()
            + service("check_pop", use="one,two", contact_groups="+y", icon_image="null")
        )
        imported = read_nagios(text)
        [found] = targets(imported).values()
        assert (found.policy.delay_up, found.policy.delay_warn, found.group) == (120, 180, "x")
        assert [warning for warning in imported.warnings if "contact_groups" in warning]
        assert not [warning for warning in imported.warnings if "icon_image" in warning]

    def test_hosts_of_a_service(self) -> None:
        """Lists, all hosts, and excluded hosts."""
        hosts = "".join(host(name) for name in "abc")
        assert set(targets(read_nagios(hosts + service("check_pop", host_name="a, b")))) == {"a-pop", "b-pop"}
        assert set(targets(read_nagios(hosts + service("check_pop", host_name="*,!b")))) == {"a-pop", "c-pop"}
        groups = define("hostgroup", hostgroup_name="g", members="a,b,c") + define(
            "hostgroup", hostgroup_name="n", members="c"
        )
        some = service("check_pop", host_name="null", hostgroup_name="g,!n")
        assert set(targets(read_nagios(hosts + groups + some))) == {"a-pop", "b-pop"}

    @pytest.mark.parametrize(
        ("directives", "max_alerts", "recovery"),
        [
            ({"notification_options": "w,u,c,r"}, 3, True),
            ({"notification_options": "c"}, 3, False),
            ({"notification_options": "n"}, 0, False),
            ({"notification_options": "r"}, 0, True),
            ({"notifications_enabled": "0"}, 0, True),
            ({"notification_interval": "0"}, 1, True),
        ],
    )
    def test_when_alerts_are_sent(self, directives: dict[str, str], max_alerts: int, recovery: bool) -> None:
        """Notification options become the number of alerts and whether a recovery is reported."""
        [found] = targets(read_nagios(host() + service("check_pop", **directives))).values()
        assert (found.policy.max_alerts, found.policy.alert_recovery) == (max_alerts, recovery)

    def test_a_host_has_a_check_of_its_own(self) -> None:
        """It does not become a target, and is reported."""
        imported = read_nagios(host(check_command="check-host-alive", max_check_attempts="9") + service("check_pop"))
        [found] = targets(imported).values()
        assert found.policy.failures_per_alert == 3
        assert [warning for warning in imported.warnings if "host's own check" in warning] == [
            "Line 4: `check_command` is not imported: it belongs to the host's own check.",
            "Line 5: `max_check_attempts` is not imported: it belongs to the host's own check.",
        ]

    def test_macros_of_the_host(self) -> None:
        """A command may use a custom variable of the host."""
        command = define("command", command_name="mine", command_line="$USER1$/check_pop -H $HOSTNAME$ -p $_HOSTPORT$")
        [found] = targets(read_nagios(host(_port="1110") + service("mine") + command)).values()
        assert (found.host, found.port) == ("a", 1110)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("define service {\n  host_name a\n", "Line 1: `define service` has no end, so it is not imported: close"),
            ("define service {\n  host_name a\ndefine host {\n}\n", "Line 1: `define service` has no end"),
            ("define service { host_name a\n}\n", "Line 1: What follows `{` is left out; Nagios does not read"),
            ("log_file=/var/log/nagios.log\nx=y\n", "Line 1: 2 settings of Nagios itself from here on: not imported."),
            ("enable_notifications=0\n", "Line 1: `enable_notifications=0` is not imported: Nagios sends no notific"),
            ("interval_length=x\n", "Line 1: `interval_length` is not a number: x; 60 is used."),
            ("not a file\nat all\n", "Line 1: This line and 1 line after it belong to no definition such as"),
            ("define service {\n  use none\n}\n", "Line 2: There is no template none here, so what it sets is missing"),
            (
                define("service", name="a", use="b", register="0")
                + define("service", name="b", use="a", register="0")
                + define("service", use="a"),
                "Line 11: It is not imported: its templates use each other in a cycle.",
            ),
            (
                "define service {\n  check_command  check_pop\n}\n",
                "Line 1: The service is not imported: it has no host",
            ),
        ],
    )
    def test_mistakes_do_not_stop_the_others(self, text: str, said: str) -> None:
        """A sentence with its line; the service after it is imported."""
        imported = read_nagios(f"{text}\n{host('z')}{service('check_pop', host_name='z')}")
        assert set(targets(imported)) == {"z-pop"}
        assert [warning for warning in imported.warnings if warning.startswith(said)]

    def test_templates_are_resolved_once(self) -> None:
        """Templates that each use the next one twice would otherwise take 2 to the 18th steps."""
        levels = "".join(define("service", name=f"t{n}", use=f"t{n + 1},t{n + 1}", register="0") for n in range(18))
        end = define("service", name="t18", retry_interval="7", register="0")
        [found] = targets(read_nagios(host() + levels + end + service("check_pop", use="t0"))).values()
        assert found.policy.delay_warn == 420

    def test_added_values_are_bounded(self) -> None:
        """Templates that each add the next two would otherwise need gigabytes."""
        levels = "".join(
            define("service", name=f"{t}{n}", use=f"t{n + 1},u{n + 1}", contact_groups="+admins", register="0")
            for n in range(15)
            for t in "tu"
        )
        end = "".join(define("service", name=f"{t}15", contact_groups="+admins", register="0") for t in "tu")
        text = host() + levels + end + service("check_pop", use="t0")
        assert "with its templates, `contact_groups` is too long" in mistakes(read_nagios, text)

    def test_services_times_hosts_are_bounded(self) -> None:
        """A small file cannot ask for billions of targets."""
        hosts = "".join(host(f"h{number}") for number in range(1000))
        services = "".join(service("check_pop", host_name="*") for _ in range(200))
        assert "more than 100,000 services" in mistakes(read_nagios, hosts + services)

    def test_a_missing_host_and_a_missing_group(self) -> None:
        """They may be in another file: that is reported."""
        imported = read_nagios(service("check_pop", hostgroup_name="g"))
        assert list(imported.warnings) == [
            "Line 2: There is no host a (POP) here: give the file that defines it too.",
            "Line 3: There is no host group g (POP) here: give the file that defines it too.",
        ]

    @pytest.mark.parametrize(
        ("settings", "names", "expected"),
        [
            ("use_regexp_matching=1", r"^mx\d$", "no host"),  # no mark: it is a name
            ("use_regexp_matching=1", "mx.*", "mx1 mx2 old-mx1"),  # anywhere in the name
            ("use_regexp_matching=1", "^mx.+$", "mx1 mx2"),
            ("use_regexp_matching=1", "*", "mx1 mx2 old-mx1 web"),
            ("use_regexp_matching=1", "web,mx1", "mx1 web"),
            ("use_regexp_matching=1", "mx.*,!mx1", "no host"),  # after a pattern all are: none has a `!` in it
            ("use_regexp_matching=1", "!mx1,^mx.*", "mx2"),
            ("use_regexp_matching=1", "^ol.*,web", "old-mx1 web"),
            ("use_regexp_matching=1\nuse_true_regexp_matching=1", "mx1", "mx1 old-mx1"),
            ("use_regexp_matching=0\nuse_true_regexp_matching=1", "mx1", "mx1"),
            ("use_regexp_matching=1", "(m+)+x", "not understood"),
            ("use_regexp_matching=1", "m.*?x", "not understood"),
            ("use_regexp_matching=1", "[[:alpha:]]+", "not understood"),
            ("use_regexp_matching=1", "m(+", "not understood"),
            ("use_regexp_matching=1", "pop.*", "no host"),
            ("", "mx.*", "use_regexp_matching=1"),
        ],
    )
    def test_names_that_are_patterns(self, settings: str, names: str, expected: str) -> None:
        """As xodtemplate_expand_hosts does it, in services and in host groups; what is left names the service."""
        hosts = "".join(host(name) for name in ("mx1", "mx2", "old-mx1", "web"))
        group = define("hostgroup", hostgroup_name="g1", members=names)
        whose = "g.*" if settings.startswith("use_regexp_matching=1") else "g1"
        for text in (
            service("check_pop", host_name=names),
            group + service("check_pop", host_name="null", hostgroup_name=whose),
        ):
            imported = read_nagios(f"{settings}\n{hosts}{text}")
            found = {str(entry.fields["host"]).removesuffix(".example") for entry in imported.entries}
            warnings = "\n".join(imported.warnings)
            assert found == {*expected.split()} or expected in warnings
            assert "setting" not in warnings
            assert found or "POP" in warnings

    def test_a_service_that_is_defined_more_than_once(self) -> None:
        """The last one counts, and one that names the host before those of groups: as in Nagios 4.4.6 itself."""
        group = define("hostgroup", hostgroup_name="g", members="a,b")
        of_group = [service(f"check_pop!-p {port}", host_name="", hostgroup_name="g") for port in (3, 4)]
        own = [service(f"check_pop!-p {port}") for port in (1, 2)]
        found = read_nagios("".join([host("a"), host("b"), group, *own, *of_group]))
        assert {name: target.port for name, target in targets(found).items()} == {"a-pop": 2, "b-pop": 4}
        said = "\n".join(found.warnings)
        assert "For a it is not imported: line 18 defines this service of the same host." in said
        assert "For b it is not imported: line 29 defines this service of the same host." in said

    @pytest.mark.parametrize(
        ("twice", "said"),
        [
            ([host("a"), host("a", alias="second")], "Line 5: This host a is not imported: line 1 defines one of the"),
            (
                [define("hostgroup", hostgroup_name="g", members=name) for name in ("a", "b")],
                "Line 5: This hostgroup g is not imported: line 1 ",
            ),
            (
                [define("command", command_name="c", command_line=line) for line in ("check_pop", "check_pop -p 1")],
                "Line 5: This command c is not imported: line 1 ",
            ),
            (
                [define("service", name="t", register="0", check_interval=interval) for interval in ("1", "2")],
                "Line 6: This template t is not imported: line 1 ",
            ),
        ],
    )
    def test_names_that_are_given_twice(self, twice: list[str], said: str) -> None:
        """Nagios does not start with them; here the first one counts, and the other one is named."""
        uses = service("c", hostgroup_name="g", use="t")
        others = host("a") if "define host {" not in twice[0] else ""
        found = read_nagios("".join([*twice, others, uses]))
        assert any(it.startswith(said) for it in found.warnings), list(found.warnings)
        assert all(target.name == "a POP" for target in targets(found).values())

    def test_a_directive_that_is_given_twice(self) -> None:
        """The last value counts, as for Nagios; members are joined to one list."""
        text = "define host {\nhost_name a\naddress a.example\naddress b.example\naddress b.example\n}\n"
        members = "define hostgroup {\nhostgroup_name g\nmembers a\nmembers b\n}\n"
        found = read_nagios(text + members + host("b") + service("check_pop", host_name="", hostgroup_name="g"))
        assert {name: target.host for name, target in targets(found).items()} == {
            "a-pop": "b.example",
            "b-pop": "b.example",
        }
        assert [*found.warnings] == [
            "Line 4: `address` is given twice: what line 3 says is not imported, as for Nagios."
        ]

    def test_arguments_without_a_macro(self) -> None:
        """Nagios leaves them out, so the import does; a line says so, without the text: it may be a password."""
        command = define("command", command_name="check_pop", command_line="/usr/lib/check_pop -H '$HOSTADDRESS$'")
        imported = read_nagios(host() + command + service("check_pop!-p!1110!secret"))
        assert targets(imported)["a-pop"].port == 110
        [said] = imported.warnings
        assert "no place (`$ARGn$`) for some of its arguments" in said
        assert said.endswith("Service: a POP.")
        assert "secret" not in said
        assert not list(read_nagios(host() + command + service("check_pop")).warnings)
        assert not list(read_nagios(host() + service("check_pop!-t 5")).warnings)

    def test_a_null_of_the_service_is_not_implied_by_the_host(self) -> None:
        """Without the directive the service has the host's contact groups; with `null` it has none."""
        groups = host(contact_groups="admins")
        assert targets(read_nagios(groups + service("check_pop")))["a-pop"].group == "admins"
        assert targets(read_nagios(groups + service("check_pop", contact_groups="null")))["a-pop"].group == ""

    @pytest.mark.parametrize(("line", "said"), [("LC_ALL=C check_pop", "`LC_ALL` before"), ("check_pop -E", "`-E` in")])
    def test_what_is_left_out_of_a_command_is_named(self, line: str, said: str) -> None:
        """Also variables of the shell, and escapes."""
        command = define("command", command_name="own", command_line=f"{line} -H a.example")
        assert said in "\n".join(read_nagios(host() + command + service("own")).warnings)

    def test_all_groups_are_not_all_hosts(self) -> None:
        """A host in no group is in none of all."""
        group = define("hostgroup", hostgroup_name="g", members="a")
        some = service("check_pop", host_name="null", hostgroup_name="*")
        assert set(targets(read_nagios(host() + host("b") + group + some))) == {"a-pop"}

    def test_odd_numbers_are_mistakes_of_their_line(self) -> None:
        """A service with a value that cannot be used is left, with every reason and its line; the others go on."""
        bad = service("check_pop!-t soon", check_interval="often", max_check_attempts="nan")
        imported = read_nagios(host() + host("z") + bad + service("check_pop", host_name="z"))
        assert set(targets(imported)) == {"z-pop"}
        found = list(imported.warnings)
        assert [line for line in found if "`delay_up` cannot be used: `often` is not a time" in line]
        assert [line for line in found if "`failures_per_alert` cannot be used: `nan`" in line]
        assert [line for line in found if "Line 14: a-pop is not imported: The field `max_test_seconds`" in line]


def test_many_targets_of_one_reason() -> None:
    """A file of file_sd for other exporters has thousands of addresses on one line."""
    listed = ", ".join(f"a{number}:9100" for number in range(5000))
    [said] = read_blackbox(f"- targets: [{listed}, 'b:110']\n").warnings
    assert said.startswith("Line 1: a0:9100, a1:9100, ")
    assert said.endswith(", a9:9100 and 4,990 more are not imported: POP3 is at port 110 or 995.")


def test_other_files_of_blackbox(tmp_path: Path) -> None:
    """JSON may be indented by tabs; the file of modules is named as such, and of several files the wrong one."""
    (tmp_path / "a.json").write_text('[\n\t{"targets": ["a.example:110"]}\n]\n')
    (tmp_path / "b.yml").write_text("modules: {}\n")
    assert set(targets(blackbox.read_blackbox([tmp_path / "a.json"]))) == {"a.example-110"}
    with pytest.raises(FileError, match=r"b\.yml: The file defines modules: give it with --modules"):
        blackbox.read_blackbox([tmp_path / "a.json", tmp_path / "b.yml"])


def test_a_member_of_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """The reason is whole, and names the file once."""
    (tmp_path / "a.cfg").write_text('object Host "a" {}\n')
    (tmp_path / "b.cfg").write_text(host() + service("check_pop"))
    [said] = read_monitor_files([tmp_path], "nagios").warnings
    assert said.replace(f"{tmp_path}/", "") == (
        "a.cfg line 1: It is not read: this is configuration of Icinga 2, which is not read. Write its hosts into a "
        "file of targets: see docs/targets.md."
    )


@pytest.mark.parametrize("monitor", ["nagios", "blackbox"])
def test_folders(tmp_path: Path, monitor: str) -> None:
    """Folders are those of Nagios; of blackbox_exporter the files are named, as nothing says which are meant."""
    (tmp_path / "a.cfg").write_text(host() + service("check_pop"))
    if monitor == "nagios":
        assert set(targets(read_monitor_files([tmp_path], monitor))) == {"a-pop"}
    else:
        with pytest.raises(FileError, match=r"is a folder: name its files\."):
            read_monitor_files([tmp_path], monitor)


class TestBlackbox:
    """Prometheus's jobs and files of file_sd."""

    def test_sample_with_its_modules(self) -> None:
        """TLS, verification and time limit come from the modules."""
        imported = read_monitor_files([SAMPLES / "prometheus.yml"], "blackbox", SAMPLES / "blackbox.yml")
        found = targets(imported)
        plain, secure = found["pop.example.org"], found["mail.example.net-995"]
        assert (plain.port, plain.tls, plain.max_test_seconds) == (110, TlsMode.STARTTLS, 5)
        assert (plain.policy.delay_up, plain.group, plain.tags) == (30, "pop3", ("team=mail",))
        assert (secure.port, secure.tls, secure.verify_tls, secure.max_test_seconds) == (
            995,
            TlsMode.IMPLICIT,
            False,
            15,
        )
        assert secure.policy.delay_up == 120
        assert list(imported.warnings) == [
            "Line 5: The job node is not imported: it has no module for POP3.",
            "Line 41: pop3s/*.yml is not read: it does not exist here.",
        ]

    def test_sample_without_its_modules(self) -> None:
        """The name shows that a module tests POP3, the port shows TLS; both are reported."""
        imported = read_monitor_files([SAMPLES / "prometheus.yml"], "blackbox")
        assert {name: found.tls for name, found in targets(imported).items()} == {
            "mail.example.net-110": TlsMode.NONE,
            "pop.example.org": TlsMode.NONE,
            "mail.example.net-995": TlsMode.IMPLICIT,
        }
        assert (
            "Line 9: The settings of the module pop3_stls are unknown: give blackbox.yml with --modules."
            in imported.warnings
        )

    def test_file_sd(self) -> None:
        """A list of groups, as YAML or JSON; a target at another port than POP3's is not imported."""
        addresses = '["a.example:110", "[2001:db8::1]:995", "b.example:9100"]'
        text = f'[{{"targets": {addresses}, "labels": {{"__x": "1", "env": "prod"}}}}]'
        imported = read_blackbox(text)
        found = targets(imported)
        assert {name: (one.host, one.port, one.tags) for name, one in found.items()} == {
            "a.example-110": ("a.example", 110, ("env=prod",)),
            "2001-db8-1-995": ("2001:db8::1", 995, ("env=prod",)),
        }
        assert list(imported.warnings) == [
            "Line 1: The label `__x` has no equivalent.",
            "Line 1: b.example:9100 is not imported: POP3 is at port 110 or 995.",
        ]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("rule_files: []\n", "neither a prometheus.yml"),
            ("- targets: []\n  targets: []\n", "Line 2: the field `targets` is given twice"),
            ("[" * 5000, "nested too deeply"),
            ("- &a [*a]\n", "nested too deeply"),
            ("a: !!python/object:os.system x\n", "Line 1: tags"),
        ],
    )
    def test_mistakes(self, text: str, said: str) -> None:
        """A sentence, with its line where there is one."""
        assert said in mistakes(read_blackbox, text)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("scrape_configs: [x]\n", "Line 1: An entry of `scrape_configs` is not a map with `job_name`."),
            (
                "scrape_configs:\n- {params: {module: [pop3]}, scrape_interval: often, static_configs: []}\n",
                "Line 2: `scrape_interval` is not a duration: often; popwatch's own delays apply.",
            ),
            ("- targets: a.example:110\n", "Line 1: A group of targets is not imported: it must be a map with a list"),
        ],
    )
    def test_mistakes_that_do_not_stop_the_others(self, text: str, said: str) -> None:
        """They are reported, with their line."""
        assert [warning for warning in read_blackbox(text).warnings if warning.startswith(said)]

    def test_aliases(self) -> None:
        """Prometheus reads YAML with aliases and merged maps, so they are expanded."""
        text = "- &a {targets: ['a.example:110'], labels: &l {team: mail}}\n- {<<: *a, targets: ['b.example:110']}\n"
        assert {name: one.tags for name, one in targets(read_blackbox(text)).items()} == {
            "a.example-110": ("team=mail",),
            "b.example-110": ("team=mail",),
        }

    def test_what_is_not_imported_of_jobs_and_modules(self) -> None:
        """Settings without an equivalent; those of modules with their path, since their lines are in another file."""
        parameters = "{module: [m], target: [a], debug: ['true']}"
        job = f"{{job_name: j, scrape_timeout: 5s, params: {parameters}, static_configs: [{{targets: [x]}}]}}"
        module = "modules: {m: {prober: tcp, tcp: {query_response: [{expect: '[+]OK'}], tls_config: {ca_file: x}}}}"
        assert list(read_blackbox(f"rule_files: []\nscrape_configs:\n- {job}\n", module).warnings) == [
            "Line 1: `rule_files` is not imported: only jobs are.",
            "Line 3: The parameter `debug` has no equivalent.",
            "Line 3: `scrape_timeout` is not imported: the `timeout` of the module is, as `max_test_seconds`.",
            "Line 3: `tcp.tls_config.ca_file` of the module m is not imported: set `ca_file`, or `ca_pem`, which has "
            "the certificates themselves.",
        ]

    @pytest.mark.parametrize(("min_version", "lowest"), [("TLS10", "1.0"), ("TLS13", "1.3"), ("SSL30", "1.2")])
    def test_the_lowest_version_of_tls(self, min_version: str, lowest: str) -> None:
        """`min_version` becomes `tls_min`; one that the exporter does not know is left out."""
        job = "{job_name: j, params: {module: [m]}, static_configs: [{targets: ['pop.example.net:995']}]}"
        tcp = f"{{tls: true, query_response: [{{expect: '\\+OK'}}], tls_config: {{min_version: {min_version}}}}}"
        module = f"modules: {{m: {{prober: tcp, tcp: {tcp}}}}}"
        [entry] = read_blackbox(f"scrape_configs:\n- {job}\n", module).entries
        assert parse_target(entry.fields).tls_min == lowest

    def test_a_module_that_only_connects_uses_no_tls(self) -> None:
        """At port 995 popwatch does, which is said; at 110 nothing changes."""
        addresses = "['a.example:110', 'b.example:995']"
        job = f"{{job_name: j, params: {{module: [m]}}, static_configs: [{{targets: {addresses}}}]}}"
        imported = read_blackbox(f"scrape_configs:\n- {job}\n", "modules: {m: {prober: tcp}}")
        assert [found.tls for found in targets(imported).values()] == [TlsMode.NONE, TlsMode.IMPLICIT]
        assert [warning for warning in imported.warnings if "uses no TLS" in warning] == [
            "Line 2: b.example:995: the exporter uses no TLS here; popwatch will, as POP3 does at port 995, and verify "
            "the certificate. `verify_tls: false` switches that off."
        ]

    def test_a_wrong_file_of_modules(self) -> None:
        """A mistake in the second file is reported, too."""
        with pytest.raises(FileError, match=r"not a blackbox\.yml"):
            read_blackbox("scrape_configs: []", "a: b")


@pytest.mark.parametrize("monitor", ["nagios", "blackbox"])
@pytest.mark.parametrize("content", [b"\x7fELF\x00\xff", b"\x00" * 1000, b"", b"{{{", b"\xef\xbb\xbf---\n"])
def test_files_that_are_something_else(tmp_path: Path, monitor: str, content: bytes) -> None:
    """A binary or empty file is refused with a sentence, or has no targets."""
    path = tmp_path / "file"
    path.write_bytes(content)
    found: list[object] = []
    with suppress(FileError):
        found.extend(read_monitor_files([path], monitor).entries)
    assert found == []


def test_what_is_listed_twice_is_one_target() -> None:
    """Prometheus, too, tests once what has the same labels; with others it is another target, and has its own id."""
    text = "- targets: ['a.example:110']\n" * 2 + "- {targets: ['a.example:110'], labels: {team: mail}}\n"
    imported = read_blackbox(text)
    assert set(targets(imported)) == {"a.example-110", "a.example-110-2"}
    assert list(imported.warnings) == ["Line 2: a.example:110 is listed twice: here and at line 1."]


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("500ms", 0.5), ("1d", 86_400)]
)
def test_durations(text: str, expected: float) -> None:
    """As Go and Prometheus write them."""
    assert seconds(text, "x") == expected


@pytest.mark.parametrize("text", ["", "5", "s", "1h 5m", "-5s", "1" * 5000 + "s", "None"])
def test_wrong_durations(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text, "interval")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example:110", ("a.example", 110)),
        ("a.example", ("a.example", None)),
        ("[2001:db8::1]:995", ("2001:db8::1", 995)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("a.example:pop3", ("a.example:pop3", None)),
        ("", ("", None)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int | None]) -> None:
    """With and without a port, of both families."""
    assert split_address(text) == expected


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("tcp://a:110"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def with_one_changed(data: st.DataObject, value: Any) -> Any:
    """The same structure with something else in one place."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: with_one_changed(data, value[name])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        position = data.draw(st.integers(0, len(value) - 1))
        return [*value[:position], with_one_changed(data, value[position]), *value[position + 1 :]]
    return data.draw(ANYTHING)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_anything_anywhere_is_imported_or_noted(data: st.DataObject) -> None:
    """Whatever value is anywhere in a file, reading it gives targets that can be checked, or FileError."""
    # Through JSON, since SAM CLI, which other tests import, has all of PyYAML make OrderedDicts.
    sample = json.loads(json.dumps(yaml.safe_load((SAMPLES / "prometheus.yml").read_text())))
    changed = with_one_changed(data, sample)
    try:
        imported = read_blackbox(yaml.safe_dump(changed))
    except FileError:
        return
    all_mistakes([*imported.entries], {})
    assert all(isinstance(warning, str) for warning in imported.warnings)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_line_of_nagios_is_imported_or_noted(data: st.DataObject) -> None:
    """The same for object configuration, with anything in one of its lines."""
    lines = (SAMPLES / "nagios.cfg").read_text().split("\n")
    lines[data.draw(st.integers(0, len(lines) - 1))] = data.draw(
        st.text(max_size=30)
        | st.sampled_from(["}", "{", "use generic-host", "host_name *", "check_command !", "\\;", "use +"])
    )
    try:
        imported = read_nagios("\n".join(lines))
    except FileError:
        return
    all_mistakes([*imported.entries], {})
    assert all(isinstance(warning, str) for warning in imported.warnings)
