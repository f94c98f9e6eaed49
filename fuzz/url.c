/* SPDX-License-Identifier: MIT */
/* url.c - any text as a URL; nothing is opened. */
#include "base/error.h"
#include "base/url.h"

#include <naru/naru.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct naru_url url;
    memcpy(text, data, size);
    text[size] = '\0';
    int r = naru__url_parse(text, &url);
    if (r == 0 && (url.text != text || strncmp(text, url.scheme, strlen(url.scheme)) != 0 ||
                   url.rest != text + strlen(url.scheme) + 1))
        abort();
    if (r < 0 && (r != -EINVAL || !*naru__why()))
        abort();
    for (int noun = 0; noun < NARU_NOUN_COUNT; noun++)
        if (naru_can(text, noun) < 0 && !*naru_why())
            abort();
    free(text);
    return 0;
}
