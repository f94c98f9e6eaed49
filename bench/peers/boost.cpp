/* SPDX-License-Identifier: MIT */
/* boost.cpp - Boost.Interprocess's message_queue, one each way. */
#include "bench/peers/peers.h"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <string>
#include <unistd.h>

extern "C" int bench_say(const char *format, ...);
extern "C" size_t bench_size;

using boost::interprocess::message_queue;

static message_queue *queues[2], *out, *in;

static std::string name(int pid, int i)
{
    return "naru-bench-" + std::to_string(pid) + "-" + std::to_string(i);
}

int bench_boost_setup(void)
try {
    const size_t room = (4u << 20) / bench_size;
    for (int i = 0; i < 2; i++)
        queues[i] = new message_queue(boost::interprocess::create_only, name(getpid(), i).c_str(),
                                      room < 4      ? 4
                                      : room > 1024 ? 1024
                                                    : room,
                                      bench_size);
    return 0;
} catch (std::exception &e) {
    return bench_say("message_queue: %s", e.what());
}

int bench_boost_attach(int side)
{
    out = queues[side];
    in = queues[!side];
    return 0;
}

int bench_boost_send(const void *buf, size_t n)
try {
    out->send(buf, n, 0);
    return 0;
} catch (std::exception &e) {
    return bench_say("send: %s", e.what());
}

int bench_boost_recv(void *buf, size_t n)
try {
    message_queue::size_type came;
    unsigned priority;
    in->receive(buf, n, came, priority);
    return came == n ? 0 : bench_say("receive: %zu bytes", (size_t)came);
} catch (std::exception &e) {
    return bench_say("receive: %s", e.what());
}

void bench_boost_detach(int side)
{
    (void)side;
    delete queues[0];
    delete queues[1];
}

void bench_boost_clean_up(int pid)
{
    for (int i = 0; i < 2; i++)
        message_queue::remove(name(pid, i).c_str());
}
