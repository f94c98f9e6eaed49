/* SPDX-License-Identifier: MIT */
/* kinds.c - the eight kinds, and what each URL can be opened as. Data: the command, the manual and
 * the tests are made from it, and every opening call is held to it. */
#include "core/kinds.h"

#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const struct naru_kind naru__kinds[] = {
    {"anonymous-pipe",
     "anonymous pipe",
     "parent-child or sibling processes",
     "file descriptor, kernel buffer",
     "stream",
     "one-way; a pair for two-way",
     "related processes, same host",
     {"send", "1 ... 2147483647 (as a connection)", "stream: none; message: 1 GiB", "no", "no",
      "no"}},
    {"named-pipe",
     "named pipe (FIFO)",
     "unrelated processes, shell-friendly",
     "file name, kernel buffer",
     "stream",
     "one-way by habit; two-way with O_RDWR",
     "same host",
     {"send, per sender", "1 ... 2147483647 (as a queue)", "stream: none; message: 1 GiB",
      "no: gone with the last holder", "no", "no"}},
    {"message-queue",
     "message queue",
     "unrelated processes, typed work",
     "kernel memory",
     "struct with a message type",
     "one-way; a pair for two-way",
     "same host",
     {"System V: send; POSIX: priority", "System V: 1 ... 2147483647; POSIX: 1 ... 32768",
      "kernel.msgmax, fs.mqueue.msgsize_max", "yes, until removed or shutdown", "no", "no"}},
    {"shared-memory",
     "shared memory",
     "both sides read and write, lowest latency",
     "memory",
     "struct",
     "two-way",
     "same host",
     {"send, per sender", "1 ... 2147483647", "at least 1 GiB", "yes, until removed or shutdown",
      "yes, marked", "only to a subscriber that asked for it"}},
    {"memory-map",
     "memory map",
     "large data, survives restart",
     "file + memory",
     "page",
     "two-way",
     "same host",
     {"send", "1 ... 2147483647", "at least 1 GiB", "yes, also a restart", "yes, marked", "no"}},
    {"socket",
     "socket",
     "client and server",
     "socket",
     "stream (or message)",
     "two-way",
     "same host and other hosts",
     {"send", "1 ... 2147483647 (framed)", "framed: 1 GiB; datagram: the medium's", "no", "no",
      "datagrams may be lost"}},
    {"rpc",
     "RPC",
     "call a remote function like a local one",
     "any of the above",
     "call",
     "two-way",
     "wherever its carrier reaches",
     {"per call", "methods", "4 MiB unless set", "no", "no", "a call fails with a status"}},
    {"semaphore",
     "semaphore",
     "keep shared data consistent",
     "memory",
     "count",
     "-",
     "same host",
     {"arrival (fair)", "none", "none", "yes, until removed or shutdown",
      "a dead owner's permits return", "no"}},
};
const size_t naru__kinds_count = sizeof naru__kinds / sizeof *naru__kinds;

#define NO NARU_CELL_NO
#define YES NARU_CELL_YES
#define LATER NARU_CELL_LATER
#define NOT_A_SOCKET NULL, NULL, NULL
#define SHM_PROMISE                                                                                \
    {                                                                                              \
        "send, per sender", "1 ... 2147483647", "at least 1 GiB", "yes, until removed",            \
            "yes, marked", "only to a lossy subscriber, who is told"                               \
    }
#define BYTES_PROMISE(outlives)                                                                    \
    {                                                                                              \
        "send", "1 ... 2147483647", "1 GiB", outlives, "no", "no"                                  \
    }

/* Columns: stream, connection, queue, topic, region, lock, service. */
const struct naru_url_form naru__url_forms[] = {
    {"pipe",
     "pipe:",
     "anonymous-pipe",
     {YES, YES, NO, NO, NO, NO, YES},
     {"by pair or spawn", "two pipes", 0, 0, 0, 0, 0},
     BYTES_PROMISE("no: gone with the last holder"),
     NOT_A_SOCKET},
    {"fifo",
     "fifo:/path",
     "named-pipe",
     {YES, NO, YES, NO, NO, NO, NO},
     {0, 0, "records never mix", 0, 0, 0, 0},
     {"send, per sender", "1 ... 2147483647", "1 GiB", "no: gone with the last holder", "no", "no"},
     NOT_A_SOCKET},
    {"posix-mq",
     "posix-mq:/name",
     "message-queue",
     {NO, NO, YES, NO, NO, NO, NO},
     {0, 0, "raw messages, by priority", 0, 0, 0, 0},
     {"priority; send within a type", "1 ... 32768", "fs.mqueue.msgsize_max", "yes, until removed",
      "no", "no"},
     NOT_A_SOCKET},
    {"sysv-mq",
     "sysv-mq:/path#id, sysv-mq:0xKEY",
     "message-queue",
     {NO, NO, YES, NO, NO, NO, NO},
     {0, 0, "typed select by the kernel", 0, 0, 0, 0},
     {"send", "1 ... 2147483647", "kernel.msgmax", "yes, until removed", "no", "no"},
     NOT_A_SOCKET},
    {"posix-shm",
     "posix-shm:/name",
     "shared-memory",
     {NO, NO, NO, NO, YES, NO, NO},
     {0},
     {"none", "none", "none", "yes, until removed", "no", "no"},
     NOT_A_SOCKET},
    {"sysv-shm",
     "sysv-shm:/path#id, sysv-shm:0xKEY",
     "shared-memory",
     {NO, NO, NO, NO, YES, NO, NO},
     {0},
     {"none", "none", "none", "yes, until removed", "no", "no"},
     NOT_A_SOCKET},
    {"posix-sem",
     "posix-sem:/name",
     "semaphore",
     {NO, NO, NO, NO, NO, YES, NO},
     {0, 0, 0, 0, 0, "semaphore", 0},
     {"none", "none", "none", "yes, until removed", "no", "no"},
     NOT_A_SOCKET},
    {"sysv-sem",
     "sysv-sem:/path#id",
     "semaphore",
     {NO, NO, NO, NO, NO, YES, NO},
     {0, 0, 0, 0, 0, "semaphore", 0},
     {"none", "none", "none", "yes, until removed", "no", "no"},
     NOT_A_SOCKET},
    {"shm",
     "shm:name, shm:/dir",
     "shared-memory",
     {NO, YES, YES, YES, YES, YES, YES},
     {0},
     SHM_PROMISE,
     NOT_A_SOCKET},
    {"map",
     "map:/file, map:/dir",
     "memory-map",
     {NO, NO, YES, YES, YES, YES, NO},
     {0, 0, "durable", "durable, replay", 0, 0, 0},
     {"send", "1 ... 2147483647", "at least 1 GiB", "yes, also a restart", "yes, marked", "no"},
     NOT_A_SOCKET},
    {"unix",
     "unix:/path, unix:@abstract, unix:name",
     "socket",
     {YES, YES, NO, NO, NO, NO, YES},
     {0},
     BYTES_PROMISE("no"),
     "AF_UNIX",
     "SOCK_STREAM",
     "0"},
    {"unix+seqpacket",
     "unix+seqpacket:/path",
     "socket",
     {NO, YES, NO, NO, NO, NO, NO},
     {0, "raw packets", 0, 0, 0, 0, 0},
     {"send", "1", "the socket's buffer, to net.core.wmem_max", "no", "no", "no"},
     "AF_UNIX",
     "SOCK_SEQPACKET",
     "0"},
    {"unix+dgram",
     "unix+dgram:/path",
     "socket",
     {NO, NO, YES, NO, NO, NO, NO},
     {0, 0, "raw datagrams", 0, 0, 0, 0},
     {"send, per sender", "1", "the socket's buffer, to net.core.wmem_max",
      "no: gone with the receiver", "no", "no"},
     "AF_UNIX",
     "SOCK_DGRAM",
     "0"},
    {"tcp",
     "tcp://host:port",
     "socket",
     {YES, YES, NO, NO, NO, NO, YES},
     {0},
     BYTES_PROMISE("no"),
     "AF_INET, AF_INET6",
     "SOCK_STREAM",
     "IPPROTO_TCP"},
    {"tls",
     "tls://host:port",
     "socket",
     {YES, YES, NO, NO, NO, NO, YES},
     {0},
     BYTES_PROMISE("no"),
     "AF_INET, AF_INET6",
     "SOCK_STREAM",
     "IPPROTO_TCP"},
    {"udp",
     "udp://host:port",
     "socket",
     {NO, NO, YES, YES, NO, NO, NO},
     {0, 0, "raw datagrams, may lose", "multicast, may lose", 0, 0, 0},
     {"none", "1", "65507 bytes", "no: gone with the receiver", "no",
      "yes; a full receiver counts what it lost"},
     "AF_INET, AF_INET6",
     "SOCK_DGRAM",
     "IPPROTO_UDP"},
    {"grpc",
     "grpc://host:port",
     "rpc",
     {NO, NO, NO, NO, NO, NO, YES},
     {0, 0, 0, 0, 0, 0, "with any gRPC peer"},
     {"per call", "methods", "4 MiB unless set", "no", "no", "a call fails with a status"},
     NOT_A_SOCKET},
    {"grpcs",
     "grpcs://host:port",
     "rpc",
     {NO, NO, NO, NO, NO, NO, YES},
     {0, 0, 0, 0, 0, 0, "with any gRPC peer"},
     {"per call", "methods", "4 MiB unless set", "no", "no", "a call fails with a status"},
     NOT_A_SOCKET},
    {"grpc+unix",
     "grpc+unix:/path",
     "rpc",
     {NO, NO, NO, NO, NO, NO, YES},
     {0, 0, 0, 0, 0, 0, "with any gRPC peer"},
     {"per call", "methods", "4 MiB unless set", "no", "no", "a call fails with a status"},
     NOT_A_SOCKET},
    {"nats",
     "nats://host/subject",
     "socket",
     {NO, NO, LATER, LATER, NO, NO, LATER},
     {0, 0, "JetStream", 0, 0, 0, 0},
     {"send", "1 ... 2147483647", "the server's max_payload", "queue: yes", "queue: yes",
      "topic: yes"},
     NOT_A_SOCKET},
};
const size_t naru__url_forms_count = sizeof naru__url_forms / sizeof *naru__url_forms;

const char *naru__noun_name(int noun)
{
    static const char *const name[NARU_NOUN_COUNT] = {"stream", "connection", "queue",  "topic",
                                                      "region", "lock",       "service"};
    return noun >= 0 && noun < NARU_NOUN_COUNT ? name[noun] : NULL;
}

/* "pipe:, fifo:" of those whose cell is so. */
static void list_forms(char *out, size_t size, int noun, int cell)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < naru__url_forms_count; i++) {
        const struct naru_url_form *f = &naru__url_forms[i];
        if (f->cell[noun] == cell && n < size)
            n += (size_t)snprintf(out + n, size - n, "%s%s:", n ? ", " : "", f->scheme);
    }
}

const struct naru_url_form *naru__url_form(const char *scheme)
{
    char known[256];
    size_t n = 0;
    for (size_t i = 0; i < naru__url_forms_count; i++)
        if (strcmp(naru__url_forms[i].scheme, scheme) == 0)
            return &naru__url_forms[i];
    for (size_t i = 0; i < naru__url_forms_count && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s:", i ? ", " : "",
                              naru__url_forms[i].scheme);
    naru__fail(-EINVAL, "\"%s:\" is no scheme of naru's; there are %s", scheme, known);
    return NULL;
}

int naru__cell_check(const struct naru_url_form *form, int noun, const char *url)
{
    char can[256], later[256];
    if (noun < 0 || noun >= NARU_NOUN_COUNT)
        return naru__fail(-EINVAL, "%d is no noun of naru's", noun);
    const char *name = naru__noun_name(noun);
    if (form->cell[noun] == NARU_CELL_YES)
        return 0;
    list_forms(can, sizeof can, noun, NARU_CELL_YES);
    list_forms(later, sizeof later, noun, NARU_CELL_LATER);
    if (form->cell[noun] == NARU_CELL_LATER)
        return naru__fail(-EOPNOTSUPP, "%s as a %s is not in this build%s%s", url, name,
                          can[0] ? "; these are: " : "", can);
    return naru__fail(-EOPNOTSUPP, "%s cannot be a %s%s%s%s%s", url, name,
                      can[0] ? "; these can: " : "", can,
                      later[0] ? "; these can, but not in this build: " : "", later);
}

int naru__url_of(const char *text, int noun, struct naru_url *ret_url)
{
    int r = naru__url_parse(text, ret_url);
    const struct naru_url_form *form = r < 0 ? NULL : naru__url_form(ret_url->scheme);
    return r < 0 ? r : form ? naru__cell_check(form, noun, text) : -EINVAL;
}
