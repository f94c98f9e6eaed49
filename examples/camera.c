/* SPDX-License-Identifier: MIT */
/* camera.c - frames of 4 MiB to three subscribers of a topic, two of which copy nothing: the camera
 * fills the memory that they read. The third, a preview, may miss frames and holds nobody back. */
#include <naru/naru.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAME = 4 << 20, FRAMES = 24, SUBSCRIBERS = 3, IMAGE = 1, END = 2 };

struct head {
    uint64_t number, check;
};

/* Looks at a frame where it lies: here it only adds some of it up. */
static uint64_t look(const uint8_t *frame)
{
    uint64_t sum = 0;
    for (size_t i = sizeof(struct head); i < FRAME; i += 4096)
        sum += frame[i];
    return sum;
}

static int subscriber(const char *url, const char *name, int lossy)
{
    const struct naru_topic_options o = {.size = sizeof o, .lossy = lossy};
    naru_channel *topic;
    struct naru_message m;
    uint64_t seen = 0, missed = 0, last = 0;
    if (naru_topic_open(url, NARU_RECV, &o, &topic) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (;;) {
        if (naru_channel_take(topic, 0, 20 * NARU_S, &m) < 0)
            return fprintf(stderr, "%s: %s\n", name, naru_why()), 1;
        missed += m.info.missed;
        if (m.info.type == END)
            break;
        struct head h;
        memcpy(&h, m.data, sizeof h);
        if (h.check != look(m.data) || h.number <= last)
            return fprintf(stderr, "%s: frame %" PRIu64 " is not whole\n", name, h.number), 1;
        last = h.number;
        seen++;
        naru_channel_release(topic, &m, 1);
    }
    printf("%s: %" PRIu64 " frames, %" PRIu64 " missed\n", name, seen, missed);
    fflush(stdout);
    naru_channel_close(topic);
    return seen + missed != FRAMES || (!lossy && missed > 0);
}

static int camera(naru_channel *topic)
{
    void *frame;
    for (uint64_t i = 1; i <= FRAMES; i++) {
        if (naru_channel_reserve(topic, FRAME, 20 * NARU_S, &frame) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
        memset(frame, (int)i, FRAME); /* the sensor writes it */
        const struct head h = {i, look(frame)};
        memcpy(frame, &h, sizeof h);
        if (naru_channel_commit(topic, frame, FRAME, IMAGE) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
    }
    return naru_channel_send(topic, END, NULL, 0, 20 * NARU_S) < 0;
}

int main(void)
{
    static const char *const name[SUBSCRIBERS] = {"recorder", "detector", "preview"};
    char url[64];
    naru_channel *topic;
    int status, failed;
    snprintf(url, sizeof url, "shm:example-camera-%d", (int)getpid());
    if (naru_topic_open(url, NARU_SEND, NULL, &topic) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 0; i < SUBSCRIBERS; i++)
        if (fork() == 0)
            _exit(subscriber(url, name[i], i == 2));
    failed = naru_channel_wait_peers(topic, SUBSCRIBERS, 20 * NARU_S) < 0 || camera(topic) != 0;
    while (wait(&status) > 0)
        failed |= status;
    naru_channel_close(topic);
    naru_remove(url);
    return failed != 0;
}
