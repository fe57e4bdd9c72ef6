"""What people type who do not know popwatch yet, each with what should happen: a script, run from top to bottom.

The stack has the targets `a` and `b` in the group `g` and `c` without a group. Each line is given as a shell splits it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line, its exit code, and what its output contains and does not contain."""

    line: str
    code: int
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def _case(line: str, code: int, *says: str, never: tuple[str, ...] = ()) -> CommandLine:
    return CommandLine(line, code, says, never)


HELP = [
    _case("--help", 0, "--local", "--region", "--profile", "--width", "status"),
    _case("-h", 0, "Watch POP3 servers"),
    _case("help", 0, "Watch POP3 servers"),
    _case("help status", 0, "Show the status", "Options of every command: --local"),
    _case("help targets put", 0, "FIELD=VALUE"),
    _case("help targets set", 0, "popwatch targets put"),
    _case("help stauts", 3, "Did you mean status?"),
    _case("help status down", 3, "has no commands of its own"),
    _case("status -h", 0, "worst first"),
    _case("version", 0, "popwatch "),
    _case("--version", 0, "popwatch "),
    _case("-V", 0, "popwatch "),
    _case("targets help", 3, "`popwatch targets --help`"),
]

MISTYPED = [
    _case("stauts", 3, "Did you mean status?"),
    _case("statsu --local", 3, "Did you mean status?"),
    _case("list", 3, "`popwatch targets list`"),
    _case("ls", 3, "`popwatch targets list`"),
    _case("add mail host=x.example", 3, "`popwatch targets put`"),
    _case("mute a", 3, "`popwatch silence`"),
    _case("run", 3, "`make run`"),
    _case("deploy", 3, "`make deploy`"),
    _case("check", 3, "`popwatch test`"),
    _case("pop.example.net", 3, "`popwatch test pop.example.net`"),
    _case("pop.example.net:995", 3, "`popwatch test pop.example.net:995`"),
    _case("xyzzy", 3, "`popwatch --help` lists all"),
    _case("targets lst", 3, "Did you mean list?"),
    _case("targets xyzzy", 3, "`popwatch targets --help` lists all"),
    _case("targets update a port=1", 3, "`popwatch targets put ID FIELD=VALUE`"),
    _case("targets list --jsn", 3, "--json"),
    _case("--lcoal status", 3, "--local"),
    _case("report --sinse 7d", 3, "--since"),
    _case("status --local --state dwn", 3, "'dwn' is not one of", "Did you mean down?", never=("<State", "State.")),
    _case("status --local --state xyzzy", 3, "untested, up, warn", never=("<State",)),
    _case("report --local --format htlm", 3, "Did you mean html?"),
    _case("simulate --error timed-uot", 3, "Did you mean timed-out?", never=("ErrorCode",)),
    _case("test 127.0.0.1 --tls implict", 3, "Did you mean implicit?"),
    _case("simulate --set failures_per_alrt=2", 3, "`failures_per_alert`"),
    _case("simulate --set tls=implict", 3, "Did you mean `implicit`?"),
    _case("simulate --set failures_per_alert", 3, "FIELD=VALUE"),
    _case("replay --local --set failures_per_alrt=2", 3, "`failures_per_alert`"),
    _case("status --json --verbose --local xyzzy", 3, "There is no target xyzzy", "popwatch --local targets list"),
]

PLACES = [
    _case("--local targets list", 0, "a  ", "pop.example.net:110"),
    _case("targets --local list", 0, "pop.example.net:110"),
    _case("targets list --local", 0, "pop.example.net:110"),
    _case("targets ls --local", 0, "pop.example.net:110"),
    _case("--json targets list --local", 0, '"target_id": "a"'),
    _case("--json --local targets list", 0, '"target_id": "a"'),
    _case("targets --json list --local", 0, '"target_id": "a"'),
    _case("targets list --json --local", 0, '"target_id": "a"'),
    _case("-v targets list --local", 0, "Using the local stack at http://127.0.0.1"),
    _case("targets list -v --local", 0, "Using the local stack at http://127.0.0.1"),
    _case("--json silence a --for 1h --local", 3, "has no --json"),
    _case("targets list", 3, "You must specify a region", "A local stack is running here: to use it, add `--local`."),
    _case("targets list --profile nobody", 3, "nobody", "add `--local`"),
    _case("status --width 30 --local", 3, "40"),
    _case("status --width wide --local", 3, "'wide' is not a valid number"),
]

IDS = [
    _case("targets show a --local", 0, "host", "pop.example.net"),
    _case("targets show a b --local --json", 0, '"target_id": "b"'),
    _case("targets show aa --local", 3, "There is no target aa"),
    _case("targets put mail-berlin host=pop.example.net --local", 0, "mail-berlin"),
    _case("targets set mail-rome host=pop.example.org delay_up=5m 'tags=[\"it\"]' --local", 0, "mail-rome"),
    _case("targets show mail-rome --local", 0, "delay_up              300"),
    _case("targets show mail-brelin --local", 3, "Did you mean mail-berlin?"),
    _case("targets put mail-rome delay_up=2h30m --local", 0, "mail-rome"),
    _case("targets show mail-rome --json --local", 0, '"delay_up": 9000'),
    _case("targets put mail-rome delay_up=soon --local", 3, "`delay_up`", "Nothing was written."),
    _case("targets put mail-rome delay_up=5s --local", 3, "is not between 10 and 86400"),
    _case("targets put mail-rome tls=start --local", 3, "Did you mean `starttls`?"),
    _case("targets put mail-rome host --local", 3, "host=pop.example.net"),
    _case("targets list --tag it --local", 0, "mail-rome", never=("mail-berlin",)),
    _case("targets list --tag iti --local", 3, "no target with the tag iti. The tags are: it.", "Did you mean it?"),
    _case("targets list mail-rome a --local", 0, "mail-rome", "a  ", never=("mail-berlin",)),
    _case("status --group gg --local", 3, "The groups are: g."),
    _case("silence a b --for 2h30m --local", 0, "a: silenced", "b: silenced", "2 h 30 min"),
    _case("silence a b --for 2x --local", 3, "write 90s, 20m, 2h, 1d or 1h30m"),
    _case("silence a --local", 3, "--for"),
    _case("silence --for 2h --local", 3, "--group or --tag"),
    _case("silence --tag it --for 5m --local", 0, "mail-rome: silenced", "5 min"),
    _case("unsilence a b --local", 0, "a: no longer silenced", "b: no longer silenced"),
    _case("unsilence a b --local", 3, "not silenced"),
    _case("ack a b --local", 3, "not failing"),
    _case("acknowledge a --local", 3, "not failing"),
    _case("ack x y --local", 3, "There is no target x", "There is no target y"),
    _case("suspend a b --local", 0, "`popwatch --local resume`"),
    _case("suspend --group g --local", 0, "a: suspended", "b: suspended"),
    _case("resume --group g --local", 0, "a: tested again", "b: tested again"),
    _case("status a --local", 3, "State", "Server      pop.example.net:110", "Group       g"),
    _case("status --local", 3, "`popwatch --local doctor`", "5 targets: 5 untested"),
    _case("status --group g --json --local", 3, '"target_id": "a"', never=('"target_id": "c"',)),
    _case("report a --local", 0, "1 target", never=("1 targets",)),
    _case("report a b --json --local", 0, '"target_id": "b"'),
    _case("report --json --format csv --local", 3, "contradict"),
    _case("report --group g --local --since 1h", 0, "2 targets"),
    _case("report --output week.html --local", 0, "The report of 5 targets is in week.html."),
    _case("history a b --local --since 1h", 0, "a pop.example.net:110", "b pop.example.net:110"),
    _case("history --group g --local --since 1h", 0, "a pop.example.net:110", "b pop.example.net:110"),
    _case("history --tag nope --local", 3, "no target with the tag nope"),
    _case("history a --group g --local", 3, "not both"),
    _case("targets show --group g --local --json", 0, '"target_id": "a"', '"target_id": "b"', never=('"c"',)),
    _case("targets show --local", 3, "choose them with --group or --tag"),
    _case("targets remove --local", 3, "choose them with --group or --tag"),
    _case("history mail-brelin --local", 3, "Did you mean mail-berlin?"),
    _case("replay a --set failures_per_alert=2 --local", 0, "1 target"),
    _case("targets rm mail-berlin mail-rmoe --local", 3, "Did you mean mail-rome?", "Nothing was removed."),
    _case("targets rm mail-berlin mail-rome --local", 0, "Removed: mail-berlin, mail-rome."),
]

PUT = [
    _case("targets put c --local", 3, "nothing to change", "FIELD=VALUE"),
    _case("targets put c port=1110 --local", 0, "~ c  port: nothing -> 1110", "The next sweep applies it."),
    _case("targets put c port=1110 --local", 0, "Nothing has changed"),
    _case("targets put c prot=1110 --local", 3, "Did you mean `port`?", "--force", "Nothing was written."),
    _case("targets put c owner=me --force --local", 0, "owner: nothing -> me", "unknown field `owner`"),
    _case("targets put c owner= --local", 0, "owner: me -> nothing"),
    _case("targets put c port= --local", 0, "port: 1110 -> nothing"),
    _case("targets put new host=pop.example.org --local", 0, "+ new  pop.example.org"),
    _case("targets put a b delay_up=2m --local", 0, "~ a  delay_up: nothing -> 120", "~ b  delay_up: nothing -> 120"),
    _case("targets put --group g delay_up=5m --local", 0, "~ a  delay_up: 120 -> 300", "~ b", never=("~ c",)),
    _case("targets put c 'tags=[berlin, dovecot]' --local", 0, '["berlin", "dovecot"]'),
    _case("targets put c tags= --local", 0, "-> nothing"),
    _case("targets put --group gg delay_up=5m --local", 3, "The groups are: g."),
    _case("targets put a neww port=1 --local", 3, "neww is neither a target nor an assignment. Did you mean new?"),
    _case("targets put a host --local", 3, "host is neither a target nor an assignment."),
    _case("targets put a ca_pem=@none.pem --local", 3, "none.pem cannot be read: No such file or directory."),
    _case("targets put a ca_file=none.pem --local", 3, "none.pem cannot be read: No such file or directory."),
    _case("targets put _defaults delay_up=10m --local", 0, "+ _defaults"),
    _case("targets put bye host=pop.example.org group=old --local", 0, "+ bye"),
    _case("targets rm --group old --yes --local", 0, "Removed: bye."),
    _case("targets rm new _defaults --local", 0, "Removed: new, _defaults."),
]

TEST = [
    _case("test", 3, "`popwatch test pop.example.net`"),
    _case("test 127.0.0.1:1", 2, "FAILED  Unable to connect to the remote device", "Nothing listens on this port"),
    _case("test 127.0.0.1:1 --json", 2, '"reason": "refused"'),
    _case("--json test 127.0.0.1:1", 2, '"reason": "refused"'),
    _case("test 127.0.0.1 -p 1 -t 2s", 2, "FAILED"),
    _case("test 127.0.0.1 -p 1 --timeout soon", 3, "'soon' is not a time: write seconds, or 90s, 5m, 2h30m."),
    _case("test 127.0.0.1:99999", 3, "`99999` is not between 1 and 65535"),
    _case("test 127.0.0.1:1 127.0.0.1:2", 2, "2 targets: 0 passed, 2 failed."),
    _case("test [::1]:1", 2, "FAILED"),
    _case("test https://pop.example.net/", 3, "without a scheme or path"),
    _case("test user@pop.example.net", 3, "neither a domain name nor an IP address"),
    _case("test aa --local", 3, "There is no target aa"),
    _case("test --group g", 3, "add --local or --stack NAME"),
    _case("test --file none.yaml", 3, "none.yaml", "does not exist"),
    _case("test 127.0.0.1:1 --in-flight 3", 3, "--in-flight does nothing alone"),
    _case("test 127.0.0.1 --ca none.pem", 3, "none.pem", "does not exist"),
]

MORE = [
    _case("cost --targets 1", 0, "1 target, ", "prices of us-east-1"),
    _case("cost --targets 100 --delay 5m", 0, "100 targets"),
    _case("cost --targets 100 --delay 2s", 3, "is not between 10 and 86400 seconds"),
    _case("cost --targets many", 3, "'many' is not a valid number"),
    _case("cost --targets 100 --region eu-central-9", 0, "popwatch has no prices of eu-central-9", "in us-east-1"),
    _case("--region eu-central-9 cost --targets 9 --json", 0, '"region": "eu-central-9"', '"prices_of": "us-east-1"'),
    _case("cost", 3, "You must specify a region", "`popwatch cost --targets 100`"),
    _case("cost --local", 0, "3 targets"),
    _case("help completion", 0, "~/.bashrc", "~/.zshrc", "config.fish"),
    _case("completion bash", 0, "_POPWATCH_COMPLETE=bash_complete"),
    _case("completion zsh", 0, "#compdef popwatch"),
    _case("completion fish", 0, "complete --no-files --command popwatch"),
    _case("completion bsh", 3, "Did you mean bash?"),
    _case("completion", 3, "bash", "zsh", "fish"),
    _case("targets export targets.xlsx --local", 3, ".yaml", ".csv", ".jsonl"),
    _case("targets check none.yaml", 3, "none.yaml cannot be read: No such file or directory."),
    _case("report --month 2026-13 --local", 3, "2026-13 is not a month: write it as 2026-10."),
    _case("report --since tomorrow --local", 3, "tomorrow is not a time: write 2026-11-24"),
    _case("report --timezone Europe/Berln --local", 3, "of the IANA database", "Did you mean Europe/Berlin?"),
    _case("history", 3, "Name targets by their ids, or choose them with --group or --tag."),
    _case("page --port many", 3, "'many' is not a valid"),
    _case("receivers --local", 2, "No one receives anything: no one has subscribed"),
    _case("receivers --group gg --local", 3, "The groups are: g."),
    _case("receivers a --event dwon --local", 3, "Did you mean down?"),
    _case("receivers a --at noon --local", 3, "write 03:00, or 2026-11-24T03:00"),
    _case("subscribers", 3, "`popwatch receivers`"),
    _case("simulate --outage 30m", 0, "First alert"),
    _case("simulate --at 03:00 --outage 3h", 0, "more, every 5 min"),
    _case("simulate --at 3am", 3, "3am is not a time: write 03:00"),
    _case("simulate a --at 03:00 --local", 0, "First alert: 4 min 10 s after the outage begins"),
    _case("simulate --group g --local", 0, "First alert", "[no one]"),
    _case("simulate aa --local", 3, "There is no target aa"),
    _case("simulate --outage long", 3, "write 90s, 20m, 2h, 1d or 1h30m"),
    _case("targets put 'a b' host=pop.example.net --local", 0, "+ a b  pop.example.net"),
    _case("targets show 'a b' --local", 0, "pop.example.net"),
    _case("targets delete 'a b' --local", 0, "Removed: a b."),
]

SCRIPT = [*HELP, *MISTYPED, *PLACES, *IDS, *PUT, *TEST, *MORE]
