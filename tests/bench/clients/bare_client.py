"""The system calls of a test from the shortest loop in Python, without any judgement: the limit of the language."""

import select
import socket

from tests.bench.clients.job import Job, report

IN_FLIGHT, LAUNCHES_PER_ITERATION = 900, 64
SO_TIMESTAMPING, RECEIVE_STAMPS = 37, 1 << 3 | 1 << 4
SPACE = socket.CMSG_SPACE(48)


def all_of(job: Job) -> int:
    """How many servers say `+OK` twice."""
    epoll, servers, passed = select.epoll(), job.servers(), 0
    asked: dict[int, socket.socket] = {}
    greeted: dict[int, socket.socket] = {}
    servers.reverse()
    while servers or asked or greeted:
        for _ in range(min(LAUNCHES_PER_ITERATION, len(servers), IN_FLIGHT - len(asked) - len(greeted))):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, RECEIVE_STAMPS)
            sock.connect_ex(servers.pop())
            epoll.register(sock, select.EPOLLIN)
            asked[sock.fileno()] = sock
        for descriptor, _ in epoll.poll(0 if servers else 1):
            if descriptor in asked:
                sock = greeted[descriptor] = asked.pop(descriptor)
                sock.recvmsg(4096, SPACE)
                sock.send(b"QUIT\r\n")
            else:
                sock = greeted.pop(descriptor)
                passed += sock.recv(4096).startswith(b"+OK")
                sock.close()
    return passed


def main() -> None:
    """Test all, and count what passed."""
    job = Job.given()
    report(lambda: all_of(job))


if __name__ == "__main__":
    main()
