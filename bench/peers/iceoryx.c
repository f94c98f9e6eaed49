/* SPDX-License-Identifier: MIT */
/* iceoryx.c - iceoryx through its C binding, a topic each way: copied in and out by a subscriber
 * that looks again and again; in place, where the first 8 and the last byte are touched alone; and
 * asleep in a WaitSet. It needs its daemon: tools/bench-peers starts it. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

#include <iceoryx_binding_c/api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 4 << 20 }; /* of the daemon's default pools */

static char instance[32];
static bool in_place, asleep;
static iox_pub_storage_t publisher_room;
static iox_sub_storage_t subscriber_room;
static iox_ws_storage_t waiting_room;
static iox_pub_t publisher;
static iox_sub_t subscriber;
static iox_ws_t waiting;

static int setup(void)
{
    if (!getenv("NARU_BENCH_ROUDI"))
        return bench_say("no daemon: tools/bench-peers starts it");
    snprintf(instance, sizeof instance, "p%d", (int)getpid());
    return 0;
}

static int attach(int side)
{
    char self[32];
    iox_pub_options_t out;
    iox_sub_options_t in;
    snprintf(self, sizeof self, "naru-bench-%d", (int)getpid());
    iox_set_loglevel(Iceoryx_LogLevel_Off);
    iox_runtime_init(self);
    iox_pub_options_init(&out);
    out.historyCapacity = 0;
    out.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
    iox_sub_options_init(&in);
    in.historyRequest = 0;
    /* what the daemon's default pools hold */
    in.queueCapacity = bench_size > 100000 ? 4 : bench_size > 8000 ? 64 : 256;
    in.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
    publisher = iox_pub_init(&publisher_room, "naru-bench", instance, side ? "ba" : "ab", &out);
    subscriber = iox_sub_init(&subscriber_room, "naru-bench", instance, side ? "ab" : "ba", &in);
    if (asleep) {
        waiting = iox_ws_init(&waiting_room);
        if (iox_ws_attach_subscriber_state(waiting, subscriber, SubscriberState_HAS_DATA, 1,
                                           NULL) != WaitSetResult_SUCCESS)
            return bench_say("iox_ws_attach_subscriber_state");
    }
    for (int i = 0; i < 5000; i++, usleep(1000))
        if (iox_sub_get_subscription_state(subscriber) == SubscribeState_SUBSCRIBED &&
            iox_pub_has_subscribers(publisher))
            return 0;
    return bench_say("not subscribed after 5 s");
}

static int copying_attach(int side)
{
    in_place = asleep = false;
    return attach(side);
}

static int in_place_attach(int side)
{
    in_place = true;
    asleep = false;
    return attach(side);
}

static int asleep_attach(int side)
{
    in_place = false;
    asleep = true;
    return attach(side);
}

/* Either all of it, or its ends. */
static void carry(void *to, const void *from, size_t n)
{
    if (!in_place) {
        memcpy(to, from, n);
        return;
    }
    memcpy(to, from, 8);
    ((char *)to)[n - 1] = ((const char *)from)[n - 1];
}

static int send_one(const void *buf, size_t n)
{
    void *chunk;
    enum iox_AllocationResult r = iox_pub_loan_chunk(publisher, &chunk, (uint32_t)n);
    if (r != AllocationResult_SUCCESS)
        return bench_say("iox_pub_loan_chunk: %d", (int)r);
    carry(chunk, buf, n);
    iox_pub_publish_chunk(publisher, chunk);
    return 0;
}

static int recv_one(void *buf, size_t n)
{
    const void *chunk;
    iox_notification_info_t info;
    uint64_t missed;
    while (iox_sub_take_chunk(subscriber, &chunk) != ChunkReceiveResult_SUCCESS)
        if (asleep)
            iox_ws_wait(waiting, &info, 1, &missed);
    carry(buf, chunk, n);
    iox_sub_release_chunk(subscriber, chunk);
    return 0;
}

static void detach(int side)
{
    char left[64]; /* what a process that ends by _exit leaves */
    (void)side;
    if (asleep) {
        iox_ws_detach_subscriber_state(waiting, subscriber, SubscriberState_HAS_DATA);
        iox_ws_deinit(waiting);
    }
    iox_sub_deinit(subscriber);
    iox_pub_deinit(publisher);
    iox_runtime_shutdown();
    snprintf(left, sizeof left, "/tmp/naru-bench-%d", (int)getpid());
    unlink(left);
    snprintf(left, sizeof left, "/tmp/naru-bench-%d.lock", (int)getpid());
    unlink(left);
}

const struct adapter bench_iceoryx = {.name = "iceoryx",
                                      .url = "shm:",
                                      .setup = setup,
                                      .attach = copying_attach,
                                      .send = send_one,
                                      .recv = recv_one,
                                      .detach = detach,
                                      .max_size = LARGEST};
const struct adapter bench_iceoryx_in_place = {.name = "iceoryx, in place",
                                               .url = "shm:",
                                               .setup = setup,
                                               .attach = in_place_attach,
                                               .send = send_one,
                                               .recv = recv_one,
                                               .detach = detach,
                                               .max_size = LARGEST};
const struct adapter bench_iceoryx_asleep = {.name = "iceoryx, asleep",
                                             .url = "shm:",
                                             .setup = setup,
                                             .attach = asleep_attach,
                                             .send = send_one,
                                             .recv = recv_one,
                                             .detach = detach,
                                             .max_size = LARGEST,
                                             .modes = 1u << BENCH_LATENCY};
