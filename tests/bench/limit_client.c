/* The limit of the machine: the least that a test of a POP3 server takes, over epoll, without any judgement.
 *
 * limit_client PORT TESTS IN_FLIGHT connects to 127.1.0.1, 127.1.0.2, ..., reads a greeting, sends QUIT, reads the reply
 * and closes. It prints how many passed, and seconds of wall and CPU time. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, MAX_DESCRIPTORS = 1 << 16 };
enum { GREETING, QUITTING };

static char phase[MAX_DESCRIPTORS];

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static long peak_kb(void) /* ru_maxrss has the parent's memory in it */
{
    char line[256];
    long peak = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    return peak;
}

static void begin(int poll, int port, unsigned number)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f010001u + number)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    connect(descriptor, (struct sockaddr *)&address, sizeof address);
    phase[descriptor] = GREETING;
    epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
}

int main(int count, char **arguments)
{
    if (count < 4)
        return 1;
    int port = atoi(arguments[1]), tests = atoi(arguments[2]), most = atoi(arguments[3]);
    int poll = epoll_create1(0), begun = 0, ended = 0, passed = 0;
    struct epoll_event events[EVENTS];
    struct timespec from, to;
    struct rusage used;
    char line[512];

    clock_gettime(CLOCK_MONOTONIC, &from);
    while (ended < tests) {
        for (int burst = 0; burst < 64 && begun < tests && begun - ended < most; burst++)
            begin(poll, port, begun++);
        int found = epoll_wait(poll, events, EVENTS, begun < tests && begun - ended < most ? 0 : 1000);
        for (int i = 0; i < found; i++) {
            int descriptor = events[i].data.fd;
            ssize_t got = recv(descriptor, line, sizeof line, 0);
            if (phase[descriptor] == GREETING && got >= 3 && !memcmp(line, "+OK", 3)) {
                send(descriptor, "QUIT\r\n", 6, MSG_NOSIGNAL);
                phase[descriptor] = QUITTING;
                continue;
            }
            passed += phase[descriptor] == QUITTING && got >= 3 && !memcmp(line, "+OK", 3);
            ended++;
            close(descriptor);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    getrusage(RUSAGE_SELF, &used);
    printf("%d %.6f %.6f %ld\n", passed, to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9,
           seconds(used.ru_utime) + seconds(used.ru_stime), peak_kb());
    return 0;
}
