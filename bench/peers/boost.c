/* SPDX-License-Identifier: MIT */
/* boost.c - the row of boost.cpp. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

const struct adapter bench_boost = {.name = "boost message_queue",
                                    .url = "shm:",
                                    .setup = bench_boost_setup,
                                    .attach = bench_boost_attach,
                                    .send = bench_boost_send,
                                    .recv = bench_boost_recv,
                                    .detach = bench_boost_detach,
                                    .clean_up = bench_boost_clean_up,
                                    .max_size = 64 << 20};
