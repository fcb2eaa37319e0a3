/* What C can do on the wire: a pipelined client of prebuilt bytes, without time-outs, faults or results.
 *
 * client PORT COUNT CONNECTIONS FILE     prints the seconds that COUNT mails took.
 * One write holds the content of a mail and the commands for the next (RFC 2920), as ours does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

static char *content;
static size_t size;
static long begun, done, count;

struct peer {
    int fd, is_open;      /* whether DATA was let through for the next mail */
    long begun;
    char replies[1 << 14];
    size_t used;
};

static void fail(const char *text) {
    perror(text);
    exit(1);
}

static void put(int fd, struct iovec *parts, int number) {
    while (number) {
        ssize_t sent = writev(fd, parts, number);
        if (sent < 0) fail("writev");
        while (number && (size_t)sent >= parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++, number--;
        }
        if (number) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
}

static size_t envelope(char *into, long number) {
    return (size_t)sprintf(
        into, "MAIL FROM:<news@example.com> SIZE=%zu\r\nRCPT TO:<reader%ld@example.com>\r\nDATA\r\n", size, number);
}

/* The content of the mail that was let through, and the commands for the next one if there is any. */
static void go_on(struct peer *peer) {
    char commands[256];
    struct iovec parts[3] = {{content, size}, {(char *)".\r\n", 3}, {commands, 0}};
    int number = 2;
    if (begun < count) {
        parts[2].iov_len = envelope(commands, begun++);
        number = 3;
    }
    put(peer->fd, parts, number);
}

static void hear(struct peer *peer) {
    ssize_t got = read(peer->fd, peer->replies + peer->used, sizeof peer->replies - peer->used);
    if (got <= 0) fail("read");
    peer->used += (size_t)got;
    char *at = peer->replies, *end;
    while ((end = memchr(at, '\n', peer->used - (size_t)(at - peer->replies)))) {
        if (!strncmp(at, "354", 3)) go_on(peer);
        else if (strstr(at, "queued") && strstr(at, "queued") < end) done++;
        else if (at[0] != '2') fail("refused");
        at = end + 1;
    }
    peer->used -= (size_t)(at - peer->replies);
    memmove(peer->replies, at, peer->used);
    peer->replies[peer->used] = 0;
}

int main(int number, char **arguments) {
    if (number != 5) return 2;
    count = atol(arguments[2]);
    int connections = atoi(arguments[3]), file = open(arguments[4], O_RDONLY), yes = 1;
    size = (size_t)lseek(file, 0, SEEK_END);
    content = malloc(size);
    if (pread(file, content, size, 0) != (ssize_t)size) fail("file");
    static struct peer peers[MOST];
    struct pollfd polled[MOST];
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct timespec from, to;
    for (int each = 0; each < connections; each++) {
        char greeting[1024];
        int fd = peers[each].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&address, sizeof address)) fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (read(fd, greeting, sizeof greeting) <= 0 || write(fd, "EHLO bench\r\n", 12) != 12) fail("greeting");
        usleep(20000);
        if (read(fd, greeting, sizeof greeting) <= 0) fail("EHLO");
        polled[each] = (struct pollfd){fd, POLLIN, 0};
    }
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int each = 0; each < connections; each++) {
        char commands[256];
        struct iovec part = {commands, begun < count ? envelope(commands, begun++) : 0};
        put(peers[each].fd, &part, 1);
    }
    while (done < count) {
        poll(polled, (nfds_t)connections, -1);
        for (int each = 0; each < connections; each++)
            if (polled[each].revents) hear(&peers[each]);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.6f\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return 0;
}
