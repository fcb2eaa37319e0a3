/* An SMTP server that takes everything, keeps nothing and counts: about 15 us for a mail of 36 kB,
 * where Postfix's smtp-sink, which reads byte by byte, needs 160. So it is the sender that is measured.
 *
 * sink [chunking]      prints its port; at the end of standard input, the number of mails it took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (4 << 20)
#define MOST 1024
#define END "\r\n.\r\n"

enum state { COMMAND, CONTENT, CHUNK };

struct peer {
    int fd;
    enum state state;
    long left;          /* bytes of a chunk still to come */
    size_t used;
    char replies[1 << 16];
    size_t said;
    char *buffer;
};

static long taken;
static const char *greeting;

static void say(struct peer *peer, const char *text) {
    size_t size = strlen(text);
    if (peer->said + size > sizeof peer->replies) exit(3);
    memcpy(peer->replies + peer->said, text, size);
    peer->said += size;
}

/* Answers one command, message or chunk at `at`; returns how many bytes it was, 0 when incomplete. */
static size_t take(struct peer *peer, char *at, size_t size) {
    if (peer->state == CHUNK) {
        size_t part = (size_t)peer->left < size ? (size_t)peer->left : size;
        peer->left -= (long)part;
        if (peer->left == 0 && (part || size)) {
            peer->state = COMMAND;
            taken++;
            say(peer, "250 2.0.0 Ok: queued\r\n");
        }
        return part;
    }
    if (peer->state == CONTENT) {
        char *end = memmem(at, size, END, 5);
        if (!end) return 0;
        peer->state = COMMAND;
        taken++;
        say(peer, "250 2.0.0 Ok: queued\r\n");
        return (size_t)(end - at) + 5;
    }
    char *end = memchr(at, '\n', size);
    if (!end) return 0;
    if (!strncasecmp(at, "DATA", 4)) {
        peer->state = CONTENT;
        say(peer, "354 End data with <CR><LF>.<CR><LF>\r\n");
    } else if (!strncasecmp(at, "BDAT", 4)) {
        peer->state = CHUNK;
        peer->left = strtol(at + 5, NULL, 10);
    } else if (!strncasecmp(at, "EHLO", 4)) {
        say(peer, greeting);
    } else if (!strncasecmp(at, "QUIT", 4)) {
        say(peer, "221 2.0.0 Bye\r\n");
    } else {
        say(peer, "250 2.1.0 Ok\r\n");
    }
    return (size_t)(end - at) + 1;
}

/* Returns 0 when the peer is gone. */
static int serve(struct peer *peer) {
    ssize_t got = read(peer->fd, peer->buffer + peer->used, ROOM - peer->used);
    if (got <= 0) return 0;
    peer->used += (size_t)got;
    size_t start = 0, size;
    while (start < peer->used && (size = take(peer, peer->buffer + start, peer->used - start))) start += size;
    memmove(peer->buffer, peer->buffer + start, peer->used - start);
    peer->used -= start;
    if (peer->said && write(peer->fd, peer->replies, peer->said) != (ssize_t)peer->said) return 0;
    peer->said = 0;
    return 1;
}

int main(int count, char **arguments) {
    greeting = count > 1 && !strcmp(arguments[1], "chunking")
        ? "250-sink\r\n250-PIPELINING\r\n250-SIZE 99999999\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
        : "250-sink\r\n250-PIPELINING\r\n250-SIZE 99999999\r\n250 ENHANCEDSTATUSCODES\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), yes = 1;
    if (bind(listener, (void *)&address, length) || listen(listener, 128)) return 1;
    getsockname(listener, (void *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[64];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = NULL;
    epoll_ctl(poll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 64, -1);
        for (int number = 0; number < ready; number++) {
            void *what = events[number].data.ptr;
            if (!what) {
                char byte;
                if (read(STDIN_FILENO, &byte, 1) > 0) continue;
                printf("%ld\n", taken);
                return 0;
            }
            if (what == &listener) {
                struct peer *peer = calloc(1, sizeof *peer);
                peer->fd = accept(listener, NULL, NULL);
                peer->buffer = malloc(ROOM);
                setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                event.data.ptr = peer;
                epoll_ctl(poll, EPOLL_CTL_ADD, peer->fd, &event);
                if (write(peer->fd, "220 sink ESMTP\r\n", 16) != 16) return 2;
                continue;
            }
            struct peer *peer = what;
            if (!serve(peer)) {
                close(peer->fd);
                free(peer->buffer);
                free(peer);
            }
        }
    }
}
