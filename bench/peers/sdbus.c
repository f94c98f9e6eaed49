/* SPDX-License-Identifier: MIT */
/* sdbus.c - sd-bus between two processes, without a bus between them. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define PATH "/sums"
#define INTERFACE "bench.Sums"

static int sockets[2];
static sd_bus *bus;
static bool stops;

static int failed(const char *what, int r)
{
    return bench_say("%s: %s", what, strerror(-r));
}

static int add(sd_bus_message *m, void *self, sd_bus_error *error)
{
    uint64_t a, b;
    (void)self, (void)error;
    int r = sd_bus_message_read(m, "tt", &a, &b);
    return r < 0 ? r : sd_bus_reply_method_return(m, "t", a + b);
}

static int stop(sd_bus_message *m, void *self, sd_bus_error *error)
{
    (void)self, (void)error;
    stops = true;
    return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable methods[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Add", "tt", "t", add, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Stop", "", "", stop, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static int setup(void)
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets);
}

static int attach(int side)
{
    sd_id128_t id;
    stops = false;
    close(sockets[!side]);
    int r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_fd(bus, sockets[side], sockets[side]);
    if (r >= 0)
        r = sd_bus_set_anonymous(bus, 1);
    if (r >= 0 && side == 1)
        r = sd_id128_randomize(&id);
    if (r >= 0 && side == 1)
        r = sd_bus_set_server(bus, 1, id);
    if (r >= 0 && side == 1)
        r = sd_bus_set_trusted(bus, 1);
    if (r >= 0 && side == 1)
        r = sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE, methods, NULL);
    if (r >= 0)
        r = sd_bus_start(bus);
    return r < 0 ? failed("sd_bus_start", r) : 0;
}

static int process(void)
{
    int r = sd_bus_process(bus, NULL);
    if (r == 0)
        r = sd_bus_wait(bus, UINT64_MAX);
    return r < 0 ? failed("sd_bus_process", r) : 0;
}

static int call_and_wait(uint64_t number)
{
    sd_bus_message *reply = NULL;
    uint64_t sum;
    int r = sd_bus_call_method(bus, NULL, PATH, INTERFACE, "Add", NULL, &reply, "tt", number,
                               UINT64_C(1));
    if (r >= 0)
        r = sd_bus_message_read(reply, "t", &sum);
    sd_bus_message_unref(reply);
    return r < 0 ? failed("sd_bus_call_method", r) : bench_called(number, sum);
}

static int came(sd_bus_message *m, void *number, sd_bus_error *error)
{
    uint64_t sum;
    (void)error;
    int r = sd_bus_message_read(m, "t", &sum);
    if (r >= 0 && bench_called((uint64_t)(uintptr_t)number, sum) < 0)
        r = -EBADMSG;
    return r < 0 ? r : 1;
}

static int start(uint64_t number)
{
    if (bench_size == 1)
        return call_and_wait(number);
    int r = sd_bus_call_method_async(bus, NULL, NULL, PATH, INTERFACE, "Add", came,
                                     (void *)(uintptr_t)number, "tt", number, UINT64_C(1));
    return r < 0 ? failed("sd_bus_call_method_async", r) : 0;
}

static int harvest(void)
{
    return bench_size == 1 ? 0 : process();
}

static int serve(void)
{
    while (!stops)
        if (process())
            return -1;
    return sd_bus_flush(bus) < 0 ? bench_say("sd_bus_flush") : 0;
}

static int finish(void)
{
    int r = sd_bus_call_method(bus, NULL, PATH, INTERFACE, "Stop", NULL, NULL, "");
    return r < 0 ? failed("sd_bus_call_method", r) : 0;
}

static void detach(int side)
{
    (void)side;
    bus = sd_bus_close_unref(bus);
}

const struct adapter bench_sdbus = {
    .name = "sd-bus",
    .reference = "bare unix socket, call",
    .setup = setup,
    .attach = attach,
    .start = start,
    .harvest = harvest,
    .serve = serve,
    .finish = finish,
    .detach = detach,
};
