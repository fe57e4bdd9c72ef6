/* The wall clock shifted by SHIFT seconds (-DSHIFT=n), for every program that loads this first (LD_PRELOAD).
 *
 * The shift is compiled in: programs that are started with few variables, as Lambda functions are, have it too.
 *
 * Debian's faketime was tried: its clock_nanosleep either fails in Python's time.sleep (EINVAL) or sleeps for ever.
 * Here durations, timers and files stay as they are; the kernel's time stamps of packets are shifted too. */
#define _GNU_SOURCE
#define gettimeofday declared_otherwise
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#undef gettimeofday

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += SHIFT;
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    (void)zone;
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    if (!failed) {
        at->tv_sec = now.tv_sec;
        at->tv_usec = now.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags) {
    ssize_t length = syscall(SYS_recvmsg, socket, message, flags);
    if (length < 0) return length;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        struct timespec stamp;
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SO_TIMESTAMPING) continue;
        memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
        if (stamp.tv_sec) stamp.tv_sec += SHIFT;
        memcpy(CMSG_DATA(part), &stamp, sizeof stamp);
    }
    return length;
}
