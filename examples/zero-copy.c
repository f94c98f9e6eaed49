/* SPDX-License-Identifier: MIT */
/* zero-copy.c - fill a message in place, read it in place. On a pipe the memory is naru's buffer;
 * on a kind with memory of its own it is that, and the program does not change. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    naru_channel *a, *b;
    struct naru_message m;
    void *room;
    if (naru_channel_pair("pipe:", NULL, &a, &b) < 0 ||
        naru_channel_reserve(a, 4096, NARU_S, &room) < 0)
        return 1;
    int n = snprintf(room, 4096, "made where it travels");
    if (naru_channel_commit(a, room, (size_t)n, 5) < 0 || naru_channel_take(b, 0, NARU_S, &m) < 0)
        return 1;
    printf("type %u, %zu bytes: %.*s\n", m.info.type, m.size, (int)m.size, (char *)m.data);
    int same = m.size == (size_t)n && memcmp(m.data, "made", 4) == 0;
    naru_channel_release(b, &m, 1);
    naru_channel_close(a);
    naru_channel_close(b);
    return !same;
}
