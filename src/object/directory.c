/* SPDX-License-Identifier: MIT */
/* directory.c - what has no path of its own lies in a directory of this user's alone. */
#include "object/directory.h"

#include "base/error.h"
#include "os/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int naru__name_check(const char *url, const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (name[n] == '\0' && n >= 1 && n <= 64 && name[0] != '.')
        return 0;
    return naru__fail(-EINVAL,
                      "%.80s: a name has 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', and no dot at "
                      "the front",
                      url);
}

int naru__directory_check(const char *url, const char *path)
{
    struct stat st;
    int r = naru__os_stat(path, &st);
    if (r < 0)
        return r;
    if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0)
        return 0;
    return naru__fail(
        -EACCES,
        "%s: %s is %s of uid %u, mode %04o, and has to be a directory of uid %u, mode 0700: remove "
        "it, or write a path instead of the name",
        url, path, naru__file_kind(st.st_mode), st.st_uid, st.st_mode & 07777u, geteuid());
}

int naru__directory_own(const char *url, const char *base, char *ret_path, size_t n)
{
    snprintf(ret_path, n, "%s/naru-%u", base, geteuid());
    int r = naru__os_make_directory(ret_path, 0700);
    if (r < 0 && r != -EEXIST)
        return naru__fail(r, "%s: %s cannot be made: %s", url, ret_path, naru__errno_text(r));
    r = naru__directory_check(url, ret_path);
    return r == -ENOENT ? naru__fail(r, "%s: %s is made and removed by somebody", url, ret_path)
                        : r;
}
