/* SPDX-License-Identifier: MIT */
/* typed.c - two structs under types 1 and 2, sent 1, 2, 1, 2; all 2s are fetched first. */
#include <naru/naru.h>

#include <inttypes.h>
#include <stdio.h>

struct reading {
    uint32_t sensor;
    int32_t value;
};
struct job {
    uint64_t id;
    char name[24];
};
NARU_STRUCT(reading, 1, struct reading)
NARU_STRUCT(job, 2, struct job)

int main(void)
{
    naru_channel *a, *b;
    struct reading r;
    struct job j;
    if (naru_channel_pair("pipe:", NULL, &a, &b) < 0)
        return 1;
    for (uint32_t i = 1; i <= 2; i++) {
        reading_send(a, &(struct reading){i, -40}, NARU_S);
        job_send(a, &(struct job){i, "paint the hull"}, NARU_S);
    }
    for (uint64_t i = 1; i <= 2; i++) {
        if (job_recv(b, &j, NULL, NARU_S) < 0 || j.id != i)
            return 1;
        printf("job %" PRIu64 ": %s\n", j.id, j.name);
    }
    for (uint32_t i = 1; i <= 2; i++) {
        if (reading_recv(b, &r, NULL, NARU_S) < 0 || r.sensor != i)
            return 1;
        printf("sensor %" PRIu32 ": %" PRId32 "\n", r.sensor, r.value);
    }
    naru_channel_close(a);
    naru_channel_close(b);
    return 0;
}
