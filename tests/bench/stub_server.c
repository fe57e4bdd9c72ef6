/* A POP3 server for benchmarks, on all loopback addresses: `stub_server DELAY_US` prints its two ports.
 *
 * The first greets DELAY_US after it accepted, answers the first line, and closes; the second accepts and says nothing.
 * At the end of its input it prints a line for each greeting: the address that was asked, and the realtime clock, in
 * seconds, when the greeting was handed to the kernel. One thread over epoll. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512, MAX_DESCRIPTORS = 1 << 20, MAX_STAMPS = 1 << 22 };

static const char GREETING[] = "+OK stub POP3 ready\r\n", BYE[] = "+OK bye\r\n";

struct greeting { int descriptor; int64_t due_ns; };
struct stamp { uint32_t address; struct timespec at; };

static struct greeting queue[MAX_DESCRIPTORS]; /* a ring: all wait equally long, so the first in is the first due */
static unsigned queue_head, queue_tail;
static struct stamp *stamps;
static unsigned stamp_count;
static char silent_one[MAX_DESCRIPTORS];

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int listen_on(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    /* all addresses of the loopback, and nothing of the network's */
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)
        || getsockname(listener, (struct sockaddr *)&address, &size)) {
        perror("stub_server");
        exit(1);
    }
    *port = ntohs(address.sin_port);
    return listener;
}

static void greet(int descriptor)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (stamp_count < MAX_STAMPS && !getsockname(descriptor, (struct sockaddr *)&address, &size)) {
        stamps[stamp_count].address = address.sin_addr.s_addr;
        clock_gettime(CLOCK_REALTIME, &stamps[stamp_count].at);
        stamp_count++;
    }
    send(descriptor, GREETING, sizeof GREETING - 1, MSG_NOSIGNAL);
}

static void accept_all(int poll, int listener, int silent, int64_t delay_ns)
{
    int descriptor;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
        epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
        silent_one[descriptor] = silent;
        if (silent)
            continue;
        if (delay_ns == 0)
            greet(descriptor);
        else
            queue[queue_tail++ % MAX_DESCRIPTORS] = (struct greeting){descriptor, now_ns() + delay_ns};
    }
}

static void read_from(int descriptor)
{
    char line[512];
    ssize_t got = recv(descriptor, line, sizeof line, 0);
    if (got > 0 && !silent_one[descriptor])
        send(descriptor, BYE, sizeof BYE - 1, MSG_NOSIGNAL);
    close(descriptor);
}

static int wait_ms(void)
{
    if (queue_head == queue_tail)
        return 1000;
    int64_t left = queue[queue_head % MAX_DESCRIPTORS].due_ns - now_ns();
    return left <= 0 ? 0 : (int)(left / 1000000); /* the last millisecond is spun, so that no greeting is late */
}

int main(int count, char **arguments)
{
    int64_t delay_ns = count > 1 ? atoll(arguments[1]) * 1000 : 0;
    struct rlimit limit;
    uint16_t port, silent_port;
    int listener = listen_on(&port), silent = listen_on(&silent_port), poll = epoll_create1(0);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    stamps = calloc(MAX_STAMPS, sizeof *stamps);
    int watched[] = {listener, silent, STDIN_FILENO};
    for (int i = 0; i < 3; i++) {
        event.data.fd = watched[i];
        epoll_ctl(poll, EPOLL_CTL_ADD, watched[i], &event);
    }
    printf("%u %u\n", port, silent_port);
    fflush(stdout);
    for (;;) {
        int found = epoll_wait(poll, events, EVENTS, wait_ms());
        for (int i = 0; i < found; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == STDIN_FILENO)
                goto end;
            if (descriptor == listener || descriptor == silent)
                accept_all(poll, descriptor, descriptor == silent, delay_ns);
            else
                read_from(descriptor);
        }
        while (queue_head != queue_tail && queue[queue_head % MAX_DESCRIPTORS].due_ns <= now_ns())
            greet(queue[queue_head++ % MAX_DESCRIPTORS].descriptor);
    }
end:
    for (unsigned i = 0; i < stamp_count; i++) {
        struct in_addr address = {stamps[i].address};
        printf("%s %lld.%09ld\n", inet_ntoa(address), (long long)stamps[i].at.tv_sec, stamps[i].at.tv_nsec);
    }
    return 0;
}
