/* SPDX-License-Identifier: MIT */
/* spawn.c - parent and child program, both ways, over an end with a name. With an argument this
 * program is the child. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>

static int child(void)
{
    naru_channel *c;
    char text[32];
    if (naru_channel_inherit("talk", NULL, &c) < 0)
        return 1;
    ssize_t n = naru_channel_recv(c, 0, text, sizeof text, NULL, 5 * NARU_S);
    if (n < 0 || naru_channel_send(c, 2, text, (size_t)n, NARU_S) < 0)
        return 1;
    naru_channel_close(c);
    return 7;
}

int main(int argc, char **argv)
{
    naru_channel *mine, *theirs;
    naru_child *program;
    struct naru_exit e;
    char text[32] = "";
    if (argc > 1)
        return child();
    if (naru_channel_pair("pipe:", NULL, &mine, &theirs) < 0)
        return 1;
    struct naru_spawn_end ends[] = {{"talk", theirs, -1}}; /* NARU_FD_talk over there */
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 1};
    if (naru_spawn((char *[]){argv[0], "child", NULL}, &o, &program) < 0) {
        fprintf(stderr, "%s\n", naru_why());
        return 1;
    }
    naru_channel_send(mine, 1, "echo", 4, 5 * NARU_S);
    naru_channel_recv(mine, 0, text, sizeof text, NULL, 5 * NARU_S);
    naru_child_wait(program, 5 * NARU_S, &e);
    printf("the child said %s and ended with %d\n", text, e.code);
    naru_child_close(program);
    naru_channel_close(mine);
    return strcmp(text, "echo") != 0 || e.code != 7;
}
