"""`python -m popwatch_cli.local.scripted_pop3 PORT=SCRIPT...`: serves, and reads `PORT SCRIPT` lines from its input."""

import sys

from popwatch_cli.local.scripted_pop3 import ScriptedServer, ScriptError


def main(arguments: list[str]) -> None:
    """Serve until the standard input ends."""
    with ScriptedServer() as server:
        for argument in arguments:
            port, _, script = argument.partition("=")
            server.listen(script or "healthy", port=int(port))
        print("ready", flush=True)
        for line in sys.stdin:
            port, _, script = line.strip().partition(" ")
            try:
                server.play(int(port), script)
            except (ScriptError, ValueError, KeyError) as error:
                print(f"{line.strip()}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
