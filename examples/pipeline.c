/* SPDX-License-Identifier: MIT */
/* pipeline.c - siblings: printf | sort | uniq, joined by pipes that this process makes. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    static char *const programs[3][4] = {
        {"printf", "pear\\nfig\\npear\\n", NULL}, {"sort", NULL}, {"uniq", NULL}};
    struct naru_stream_options one_way = {.size = sizeof one_way, .direction = NARU_ONE_WAY};
    naru_stream *from = NULL, *to, *next;
    naru_child *child[3];
    char text[64] = "";
    for (int i = 0; i < 3; i++) {
        struct naru_spawn_end ends[2];
        size_t n = 0;
        if (naru_stream_pair("pipe:", &one_way, &next, &to) < 0)
            return 1;
        if (from)
            ends[n++] = (struct naru_spawn_end){"stdin", from, -1};
        ends[n++] = (struct naru_spawn_end){"stdout", to, -1};
        struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = n};
        if (naru_spawn(programs[i], &o, &child[i]) < 0) {
            fprintf(stderr, "%s\n", naru_why());
            return 1;
        }
        from = next; /* the next program's input; at last our own */
    }
    size_t n;
    naru_stream_read_all(from, text, sizeof text - 1, 5 * NARU_S, &n); /* to the end */
    printf("%s", text);
    naru_stream_close(from);
    int bad = 0;
    for (int i = 0; i < 3; i++) {
        struct naru_exit e = {-1, 0};
        naru_child_wait(child[i], 5 * NARU_S, &e);
        naru_child_close(child[i]);
        bad |= e.code;
    }
    return bad || strcmp(text, "fig\npear\n") != 0;
}
