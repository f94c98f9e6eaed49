/* SPDX-License-Identifier: MIT */
/* url.c - "scheme:rest". Each transport reads its own rest. */
#include "base/url.h"

#include "base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { URL_MAX = 4096 };

/* Length of the UTF-8 sequence at s (RFC 3629), 0 if there is none. */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || beyond ? 0 : n;
}

static int check_text(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = 0;
    while (s[n]) {
        size_t step = utf8_length(s + n);
        if (!step)
            return naru__fail(-EINVAL, "the URL is not valid UTF-8 at byte %zu", n);
        if (s[n] < 0x20 || s[n] == 0x7f)
            return naru__fail(-EINVAL, "the URL has the control character 0x%02x at byte %zu", s[n],
                              n);
        n += step;
        if (n > URL_MAX)
            return naru__fail(-EINVAL, "the URL is longer than %d bytes", URL_MAX);
    }
    return 0;
}

int naru__url_parse(const char *text, struct naru_url *ret_url)
{
    if (!text)
        return naru__fail(-EINVAL, "the URL is NULL; give one such as \"fifo:/tmp/name\"");
    int r = check_text(text);
    if (r < 0)
        return r;
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz+-0123456789");
    if (text[n] != ':' || n == 0)
        return naru__fail(-EINVAL,
                          "\"%.80s\" is no URL: it begins with no scheme such as \"fifo:\"", text);
    struct naru_url url = {.text = text, .rest = text + n + 1};
    if (n >= sizeof url.scheme)
        return naru__fail(-EINVAL, "\"%.80s\": no scheme is as long as that", text);
    memcpy(url.scheme, text, n);
    *ret_url = url;
    return 0;
}
