/* SPDX-License-Identifier: MIT */
#include "protoc-gen-naru/place.h"

#include "protoc-gen-naru/text.h"

#include <stdarg.h>
#include <string.h>

enum { ENOUGH = 20 }; /* sentences at once */

static char *sentences;
static unsigned n_sentences;

const char *str(const char *s)
{
    return s ? s : "";
}

struct place inside(struct place p, int field, int index)
{
    if (p.n + 2 <= PLACE_STEPS) {
        p.steps[p.n++] = field;
        p.steps[p.n++] = index;
    }
    return p;
}

const Google__Protobuf__SourceCodeInfo__Location *location(struct place p)
{
    const Google__Protobuf__SourceCodeInfo *info = p.file->source_code_info;
    for (size_t i = 0; info && i < info->n_location; i++) {
        const Google__Protobuf__SourceCodeInfo__Location *l = info->location[i];
        if (l->n_path == p.n && (p.n == 0 || memcmp(l->path, p.steps, p.n * sizeof *p.steps) == 0))
            return l;
    }
    return NULL;
}

/* What protoc made itself (the entry of a map) stands nowhere, but it is in something that does. */
const char *where(struct place p)
{
    for (;; p.n -= 2) {
        const Google__Protobuf__SourceCodeInfo__Location *l = location(p);
        if (p.n == 0)
            return str(p.file->name);
        if (l && l->n_span > 0)
            return print("%s:%lld", str(p.file->name), (long long)l->span[0] + 1);
    }
}

void refuse(struct place p, const char *format, ...)
{
    struct text t;
    va_list arguments;
    if (n_sentences++ >= ENOUGH)
        return;
    va_start(arguments, format);
    begin_text(&t);
    fprintf(t.out, "%s%s%s: ", str(sentences), sentences ? "\n" : "", where(p));
    vfprintf(t.out, format, arguments);
    va_end(arguments);
    sentences = end_text(&t);
}

const char *refused(void)
{
    return sentences;
}
