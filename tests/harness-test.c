/* SPDX-License-Identifier: MIT */
/* harness-test.c - the harness finds what it is there to find. */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void good(void)
{
    expect(1 + 1 == 2);
}

static void wrong(void)
{
    expect(1 + 1 == 3);
}

static void leaks(void)
{
    if (dup(0) < 0)
        abort();
}

static void hangs(void)
{
    for (;;)
        pause();
}

static void crashes(void)
{
    raise(SIGSEGV);
}

static void leaves_a_file(void)
{
    char path[256];
    snprintf(path, sizeof path, "%s/left", test_directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void check(const char *name, void (*run)(void), bool ok, const char *says)
{
    char why[900] = "";
    bool got = run_case(name, run, 1, why, sizeof why);
    tap_result(got == ok && strstr(why, says), name, why);
}

int main(void)
{
    check("a good case passes", good, true, "");
    check("a wrong case fails", wrong, false, "1 + 1 == 3");
    check("a leaked descriptor is found", leaks, false, "descriptors");
    check("a hang is ended", hangs, false, "no end");
    check("a crash is found", crashes, false, "status");
    check("a file left behind is found", leaves_a_file, false, "left behind");
    return tap_end();
}
