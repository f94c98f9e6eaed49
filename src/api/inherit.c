/* SPDX-License-Identifier: MIT */
/* inherit.c - opening an end that the parent put here. */
#include "api/inherit.h"

#include "api/transports.h"
#include "base/error.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool naru__end_name_ok(const char *name)
{
    size_t n =
        name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") : 0;
    return n > 0 && n <= NARU__END_NAME_MAX && name[n] == '\0';
}

/* "7" or "-"; the descriptor must be open for that direction. */
static int parse_fd(const char *text, int access, int *ret_fd)
{
    char *end;
    if (strcmp(text, "-") == 0) {
        *ret_fd = NARU__NO_FD;
        return 0;
    }
    long fd = strtol(text, &end, 10);
    if (end == text || *end || fd < 3 || fd > 1 << 24)
        return -EPROTO;
    int flags = naru__os_flags((int)fd);
    if (flags < 0 || ((flags & O_ACCMODE) != access && (flags & O_ACCMODE) != O_RDWR))
        return -EPROTO;
    *ret_fd = (int)fd;
    return 0;
}

int naru__inherited(const char *name, const char *noun, struct naru_inherited *ret_end)
{
    struct naru_inherited end;
    char is[16], scheme[24], in[16], out[16], more;
    if (!naru__end_name_ok(name))
        return naru__fail(-EINVAL, "an end's name is 1 to %d of A-Z, a-z, 0-9 and _",
                          NARU__END_NAME_MAX);
    snprintf(end.variable, sizeof end.variable, "NARU_FD_%s", name);
    const char *value = getenv(end.variable);
    if (!value)
        return naru__fail(-ENOENT,
                          "this process was given no end named %s: there is no %s in its "
                          "environment",
                          name, end.variable);
    if (sscanf(value, "%15[a-z]:%23[a-z+-]:%15[0-9-]:%15[0-9-]%c", is, scheme, in, out,
               &more) != 4)
        return naru__fail(-EPROTO, "%s=%.100s is not what naru_spawn writes", end.variable, value);
    if (strcmp(is, noun) != 0)
        return naru__fail(-EINVAL, "the end named %s is a %s, not a %s", name, is, noun);
    end.transport = naru__transport(scheme);
    if (!end.transport)
        return naru__fail(-EPROTO, "%s: this build has no %s:", end.variable, scheme);
    bool region = strcmp(noun, "region") == 0;
    bool one_way = region || strcmp(noun, "stream") == 0; /* one descriptor is enough */
    bool same = !region && end.transport->one_descriptor;
    if (parse_fd(in, O_RDONLY, &end.fds[0]) < 0 || parse_fd(out, O_WRONLY, &end.fds[1]) < 0 ||
        (end.fds[0] == end.fds[1]) != same || (!one_way && (end.fds[0] < 0 || end.fds[1] < 0)))
        return naru__fail(-EPROTO,
                          "%s=%.100s: these descriptors are not open here as they should be",
                          end.variable, value);
    for (int i = 0; i < 2; i++) {
        int r = end.fds[i] < 0 ? 0 : naru__os_set_cloexec(end.fds[i]);
        if (r >= 0 && end.fds[i] >= 0 && !region)
            r = naru__os_set_nonblocking(end.fds[i], true);
        if (r < 0)
            return naru__fail(r, "%s: %s", end.variable, naru__errno_text(r));
    }
    *ret_end = end;
    return 0;
}

void naru__inherited_done(const struct naru_inherited *end)
{
    unsetenv(end->variable);
}
