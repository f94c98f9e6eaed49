/* SPDX-License-Identifier: MIT */
/* names.c - names of the kernel's own objects. */
#include "core/names.h"

#include "base/error.h"
#include "os/sysv.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int bad_key(const struct naru_url *url, const char *what)
{
    return naru__fail(-EINVAL,
                      "%s names no %s: write %s:/path#N with N from 1 to 255, or %s:0xKEY with a "
                      "key from 1 to ffffffff",
                      url->text, what, url->scheme, url->scheme);
}

static int key_of_hex(const struct naru_url *url, const char *what, key_t *ret_key)
{
    const char *digits = url->rest + 2;
    size_t n = strspn(digits, "0123456789abcdefABCDEF");
    uint32_t key = n > 0 && n <= 8 && !digits[n] ? (uint32_t)strtoul(digits, NULL, 16) : 0;
    if (key == 0) /* IPC_PRIVATE: not a name */
        return bad_key(url, what);
    *ret_key = (key_t)key;
    return 0;
}

static int key_of_file(const struct naru_url *url, const char *what, key_t *ret_key)
{
    char path[PATH_MAX];
    const char *mark = strrchr(url->rest, '#');
    char *end;
    if (!mark || mark[1] < '1' || mark[1] > '9')
        return bad_key(url, what);
    unsigned long id = strtoul(mark + 1, &end, 10);
    size_t n = (size_t)(mark - url->rest);
    if (*end || id > 255)
        return bad_key(url, what);
    if (n >= sizeof path)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a path has at most %d bytes (PATH_MAX)",
                          url->text, PATH_MAX - 1);
    memcpy(path, url->rest, n);
    path[n] = '\0';
    int r = naru__os_ftok(path, (int)id, ret_key);
    if (r < 0)
        return naru__fail(r, "%s: the key is made from a file that is there (ftok), and %s: %s",
                          url->text, path, naru__errno_text(r));
    return 0;
}

int naru__sysv_key(const struct naru_url *url, const char *what, key_t *ret_key)
{
    if (url->rest[0] == '0' && url->rest[1] == 'x')
        return key_of_hex(url, what, ret_key);
    return url->rest[0] == '/' ? key_of_file(url, what, ret_key) : bad_key(url, what);
}

int naru__posix_name(const struct naru_url *url, const char *what, const char **ret_name)
{
    const char *name = url->rest;
    if (name[0] != '/' || !name[1])
        return naru__fail(-EINVAL, "%s names no %s: write %s:/name", url->text, what, url->scheme);
    if (strchr(name + 1, '/') || strcmp(name, "/.") == 0 || strcmp(name, "/..") == 0)
        return naru__fail(-EINVAL,
                          "%s: a %s's name is one \"/\" and then no other: there are no "
                          "directories of %ss",
                          url->text, what, what);
    if (strlen(name + 1) > NAME_MAX)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a %s's name has at most %d bytes (NAME_MAX)",
                          url->text, what, NAME_MAX);
    *ret_name = name;
    return 0;
}
