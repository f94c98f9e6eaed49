/* SPDX-License-Identifier: MIT */
/* tour-guide.c - what the tour's guide says of a scene whose parts fail one after the other. */
#include "harness.h"

#include "tool/tour-guide.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int lives[2]; /* a pipe whose writing end the first part has, as long as it lives */

static void fails(struct part *p)
{
    part_failed(p, "the other end has finished");
}

static void after_the_first(void) /* and when that has been heard */
{
    char byte;
    close(lives[1]);
    expect(read(lives[0], &byte, 1) == 0);
    usleep(150000);
}

static void fails_later(struct part *p)
{
    after_the_first();
    part_failed(p, "its medium is full");
}

static void dies_later(struct part *p)
{
    (void)p;
    after_the_first();
    raise(SIGKILL);
}

static void stays(struct part *p)
{
    (void)p;
    pause();
}

static const struct role roles[] = {
    {"fails", fails}, {"fails later", fails_later}, {"dies later", dies_later}, {"stays", stays}};

const struct role *find_role(const char *name)
{
    size_t i = 0;
    while (strcmp(roles[i].name, name) != 0)
        i++;
    return &roles[i];
}

static const char *second;

static bool start(struct stage *stage)
{
    expect(pipe(lives) == 0);
    bool started = stage_fork(stage, 0, "fails", NULL) && stage_fork(stage, 1, second, NULL);
    close(lives[0]);
    close(lives[1]);
    return started;
}

static void tell(const char *role, struct row *ret_row)
{
    static const struct scene scene = {
        .url = "pipe:", .noun = NARU_NOUN_STREAM, .parts = 2, .victim = -1, .start = start};
    struct tour tour = {.input = {.fd = -1}};
    second = role;
    snprintf(tour.directory, sizeof tour.directory, "%.90s", test_directory);
    expect(guide_run(&tour, &scene, ret_row));
    expect(!ret_row->ok && !ret_row->skipped);
    expect(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void both_are_told(void)
{
    struct row row;
    tell("fails later", &row);
    expect(strcmp(row.saw, "the other end has finished; its medium is full") == 0);
}

static void a_death_is_told(void)
{
    struct row row;
    tell("dies later", &row);
    expect(strncmp(row.saw, "the other end has finished; part 1 (pid ", 40) == 0);
    expect(strstr(row.saw, ") ended without a report, by signal 9"));
}

static void not_waited_for_long(void)
{
    struct row row;
    int64_t before = test_now();
    tell("stays", &row);
    expect(strcmp(row.saw, "the other end has finished") == 0);
    expect(test_now() - before < 20 * NARU_S); /* 2 s; a scene has 30 */
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"both failures are told", both_are_told},
        {"a death without a word is told beside a failure", a_death_is_told},
        {"who says nothing is not waited for long", not_waited_for_long},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
