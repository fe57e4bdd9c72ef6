"""A POP3 server with TLS from the first byte, in a process of its own.

`tls_server.py CERTIFICATE PORTS DELAY` prints its ports, and at the end of its input when it greeted last at each of
its addresses (all of the loopback's), in seconds of the realtime clock, before the greeting is encrypted and handed to
the kernel. It greets DELAY seconds after the handshake. It is on asyncio and slower than what it is asked by: a bench
that uses it counts the CPU time of the other side only.
"""

import asyncio
import socket
import ssl
import sys
import time

greeted: dict[str, float] = {}


ANSWERS = {b"CAPA": b"+OK\r\nUSER\r\nUIDL\r\n.\r\n", b"STAT": b"+OK 3 45678\r\n"}


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, let anyone log in, say goodbye."""
    try:
        await asyncio.sleep(float(sys.argv[3]))
        greeted[writer.get_extra_info("sockname")[0]] = time.time()
        writer.write(b"+OK stub POP3 ready\r\n")
        while not (line := await reader.readline()).startswith(b"QUIT") and line:
            writer.write(ANSWERS.get(line.strip(), b"+OK\r\n"))
        writer.write(b"+OK bye\r\n")
        writer.close()
        await writer.wait_closed()
    except OSError:
        writer.close()


def listener() -> socket.socket:
    """A socket that listens on all addresses of the loopback, and on no others."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    sock.bind(("", 0))
    return sock


async def main() -> None:
    """Serve until the input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    servers = [
        await asyncio.start_server(talk, sock=listener(), ssl=context, backlog=4096) for _ in range(int(sys.argv[2]))
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print("\n".join(f"{address} {at:.9f}" for address, at in greeted.items()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
