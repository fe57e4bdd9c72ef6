"""A POP3 server with TLS from the first byte, in a process of its own.

`tls_server.py CERTIFICATE PORTS` prints its ports. It is on asyncio and slower than what it is asked by: a bench that
uses it counts the CPU time of the other side only.
"""

import asyncio
import ssl
import sys


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, take a line, say goodbye."""
    try:
        writer.write(b"+OK stub POP3 ready\r\n")
        await reader.readline()
        writer.write(b"+OK bye\r\n")
        writer.close()
        await writer.wait_closed()
    except OSError:
        writer.close()


async def main() -> None:
    """Serve until the input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    servers = [
        await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context, backlog=4096) for _ in range(int(sys.argv[2]))
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
