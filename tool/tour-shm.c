/* SPDX-License-Identifier: MIT */
/* tour-shm.c - the tour's scenes in shared memory. The parts are those of pipes and of sockets: a
 * program changes the URL and nothing else. */
#include "tool/tour.h"

#define FORKED(name, role)                                                                         \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_fork(stage, 0, role, NULL);                                                   \
    }
FORKED(pair, "pipe-sender")
FORKED(structs, "pipe-structs")
FORKED(sender_survives, "pipe-sender-survives")
FORKED(receiver_survives, "pipe-receiver-survives")

/* A server, and when it listens a client. */
#define MEETING(name, first, second)                                                               \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, "socket-" first, NULL);                                        \
    }                                                                                              \
    static bool next_##name(struct stage *stage, int ready, int ended)                             \
    {                                                                                              \
        return ready != 1 || ended != 0 || stage_exec(stage, 1, "socket-" second, NULL);           \
    }
MEETING(messages, "server", "client")
MEETING(client_dies, "surviving-server", "dying-client")
MEETING(server_dies, "dying-server", "surviving-client")

#define CONNECTION(url, relation, shows, victim, start, next)                                      \
    {                                                                                              \
        url, NARU_NOUN_CONNECTION, "message", "two-way", relation, shows, 2, victim, start, next   \
    }

const struct scene shm_scenes[] = {
    CONNECTION("shm:", "parent-child", "messages of three types", -1, start_pair, NULL),
    {"shm:", NARU_NOUN_CONNECTION, "struct", "two-way", "parent-child",
     "sent 1, 2, 1, 2; all 2s fetched first", 2, -1, start_structs, NULL},
    CONNECTION("shm:", "parent-child", "receiver killed", 1, start_sender_survives, NULL),
    CONNECTION("shm:", "parent-child", "sender killed", 1, start_receiver_survives, NULL),
    CONNECTION("shm:%s/meeting", "unrelated", "client and server", -1, start_messages,
               next_messages),
    CONNECTION("shm:%s/meeting", "unrelated", "client killed", 1, start_client_dies,
               next_client_dies),
    CONNECTION("shm:%s/meeting", "unrelated", "server killed", 0, start_server_dies,
               next_server_dies),
    {0},
};
