"""A POP3 server that plays a part: healthy, slow, silent, rude or broken, one script per port, changed at will.

In a test: `with ScriptedServer() as server: port = server.listen("healthy")`, and `server.play(port, "silent")` later.
By hand: `python -m popwatch_cli.local.scripted_pop3 1110=healthy 1111=silent`, then lines such as `1110 refused` on its
standard input.
"""

from popwatch_cli.local.scripted_pop3.scripts import SCRIPTS, ScriptError
from popwatch_cli.local.scripted_pop3.server import Connection, ScriptedServer

__all__ = ["SCRIPTS", "Connection", "ScriptError", "ScriptedServer"]
