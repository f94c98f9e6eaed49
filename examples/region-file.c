/* SPDX-License-Identifier: MIT */
/* region-file.c - a file as memory: a list that lies in it by offsets, grows with it, and is there
 * when the next program opens it. Somebody truncates it, and that is an error and no signal. */
#include <errno.h>
#include <naru/naru.h>
#include <stdio.h>
#include <unistd.h>

struct book {
    naru_off first; /* 0: none */
    uint64_t used;
};

struct note {
    naru_off next;
    char text[56];
};

static int complain(void)
{
    return fprintf(stderr, "%s\n", naru_why()), 1;
}

static int add(naru_region *r, const char *text)
{
    struct book *book = naru_region_data(r);
    if (naru_region_grow(r, book->used + sizeof(struct note)) < 0)
        return -1;
    struct note *note = NARU_AT(r, struct note, book->used);
    if (!note)
        return -1;
    snprintf(note->text, sizeof note->text, "%s", text);
    note->next = book->first;
    book->first = naru_region_off(r, note);
    book->used += sizeof *note;
    return 0;
}

int main(void)
{
    char url[64];
    naru_region *r;
    struct naru_region_options o = {.size = sizeof o,
                                    .reserve = 1 << 20, /* so that it stays where it is */
                                    .flags = NARU_EXCLUSIVE};
    snprintf(url, sizeof url, "map:/tmp/naru-example-%d", (int)getpid());
    if (naru_region_create(url, sizeof(struct book), &o, &r) < 0)
        return complain();
    ((struct book *)naru_region_data(r))->used = sizeof(struct book);
    if (add(r, "leave at dawn") < 0 || add(r, "mind the rocks") < 0)
        return complain();
    int code = naru_region_sync(r, 0, naru_region_size(r), NARU_SYNC_FULL);
    if (code < 0 && code != -EOPNOTSUPP) /* where /tmp is memory */
        return complain();
    naru_region_close(r);

    if (naru_region_open(url, NARU_READ, NULL, &r) < 0) /* another program, or after a restart */
        return complain();
    naru_off at = ((struct book *)naru_region_data(r))->first;
    while (at != NARU_OFF_NONE) {
        const struct note *note = NARU_AT(r, struct note, at);
        if (!note) /* whatever others have written there: bounds are checked */
            return complain();
        printf("%s\n", note->text);
        at = note->next;
    }

    if (naru_guard(true) < 0 || truncate(url + 4, 0) < 0)
        return complain();
    printf("and then: %d\n", (int)((volatile struct book *)naru_region_data(r))->used);
    if (naru_region_advise(r, 0, 0, NARU_ADVICE_NORMAL) != -EPROTO)
        return 1;
    printf("%s\n", naru_why());
    naru_region_close(r);
    return naru_guard(false) < 0 || naru_remove(url) < 0;
}
