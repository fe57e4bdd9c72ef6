"""A POP3 server whose behaviour is scripted: healthy, slow, silent, wrong or broken, one script for each port.

It serves the demo of `make run`, and anyone who wants to see how popwatch reports a fault. From Python: `with
ScriptedServer() as server: port = server.listen("healthy")`, and later `server.play(port, "silent")`. From a shell:
`python -m popwatch_cli.local.scripted_pop3 1110=healthy 1111=silent`, then lines such as `1110 refused` on its standard
input.
"""

from popwatch_cli.local.scripted_pop3.scripts import SCRIPTS, ScriptError
from popwatch_cli.local.scripted_pop3.server import Connection, ScriptedServer

__all__ = ["SCRIPTS", "Connection", "ScriptError", "ScriptedServer"]
