/* SPDX-License-Identifier: MIT */
/* store.c - a key-value store, as store.proto describes it: one method of each form. A server and
 * its client in two processes, at a URL from the command line or in shared memory. */
#include "store-service.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int server_main(naru_server *server)
{
    int r = naru_server_run(server);
    if (r < 0)
        fprintf(stderr, "server: %s\n", naru_why());
    return r < 0;
}

/* ---- the client ---- */

static int check(int good, const char *what)
{
    if (!good)
        fprintf(stderr, "%s: %s\n", what, naru_why());
    return !good;
}

static Example__Entry entry_of(char *key, char *value)
{
    Example__Entry entry = EXAMPLE__ENTRY__INIT;
    entry.key = key;
    entry.value.data = (uint8_t *)value;
    entry.value.len = strlen(value);
    return entry;
}

static int put_get_delete(naru_client *client)
{
    Example__Entry entry = entry_of("greeting", "hello"), *found;
    Example__Key key = EXAMPLE__KEY__INIT;
    Example__PutReply *put_reply;
    Google__Protobuf__Empty *nothing;
    struct naru_status status;
    key.key = "greeting";
    if (check(example_store_put(client, &entry, NULL, &put_reply) == 0, "Put"))
        return 1;
    example__put_reply__free_unpacked(put_reply, NULL);
    if (check(example_store_get(client, &key, NULL, &found) == 0, "Get"))
        return 1;
    printf("%s: %.*s\n", found->key, (int)found->value.len, (const char *)found->value.data);
    example__entry__free_unpacked(found, NULL);
    if (check(example_store_delete(client, &key, NULL, &nothing) == 0, "Delete"))
        return 1;
    google__protobuf__empty__free_unpacked(nothing, NULL);
    int r = example_store_get(client, &key, NULL, &found);
    naru_client_status(&status);
    printf("after that: %s\n", status.message);
    return check(r == -EREMOTEIO && status.code == NARU_STATUS_NOT_FOUND, "the end of a key");
}

/* Loads entries while another call watches them. */
static int load_and_watch(naru_client *client)
{
    enum { LOADED = 1000, WATCHED = 10 };
    Example__WatchRequest all = EXAMPLE__WATCH_REQUEST__INIT;
    struct example_store_watch changes;
    struct example_store_load stream;
    Example__LoadReply *reply;
    int seen = 0, r = 0;
    all.prefix = "key 99";
    if (check(example_store_watch_begin(client, &all, NULL, &changes) == 0, "Watch") ||
        check(example_store_load_begin(client, NULL, &stream) == 0, "Load"))
        return 1;
    for (int i = 0; i < LOADED && r == 0; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "value %d", i);
        Example__Entry entry = entry_of(key, value);
        r = example_store_load_send(&stream, &entry, NARU_FOREVER);
    }
    if (check(example_store_load_finish(&stream, NARU_FOREVER, &reply) == 0, "Load"))
        return 1;
    printf("loaded %d entries of %d bytes\n", (int)reply->entries, (int)reply->bytes);
    r |= reply->entries != LOADED;
    example__load_reply__free_unpacked(reply, NULL);
    for (Example__Change *change; seen < WATCHED + 1; seen++) { /* key 99, key 990 ... key 999 */
        if (check(example_store_watch_take(&changes, 5 * NARU_S, &change) == 1, "a change"))
            return 1;
        example__change__free_unpacked(change, NULL);
    }
    naru_call_close(changes.call); /* enough */
    printf("%d changes of keys that begin with \"%s\"\n", seen, all.prefix);
    return r;
}

/* Sends all commands before it takes the first answer. */
static int pipeline(naru_client *client)
{
    enum { COMMANDS = 20 };
    struct example_store_session stream;
    Example__Answer *answer;
    int right = 0, r = example_store_session_begin(client, NULL, &stream);
    for (uint64_t i = 0; i < COMMANDS && r == 0; i++) {
        Example__Command command = EXAMPLE__COMMAND__INIT;
        Example__Key key = EXAMPLE__KEY__INIT;
        char name[16];
        snprintf(name, sizeof name, "key %d", (int)i * 100);
        key.key = name;
        command.id = i;
        command.what_case = EXAMPLE__COMMAND__WHAT_GET;
        command.get = &key;
        r = example_store_session_send(&stream, &command, NARU_FOREVER);
    }
    if (check(r == 0, "Session"))
        return 1;
    naru_call_shutdown(stream.call);
    while ((r = example_store_session_take(&stream, NARU_FOREVER, &answer)) > 0) {
        right += answer->code == (answer->id < 10 ? NARU_STATUS_OK : NARU_STATUS_NOT_FOUND);
        example__answer__free_unpacked(answer, NULL);
    }
    printf("%d commands in flight, %d answered rightly\n", COMMANDS, right);
    return check(r == 0 && example_store_session_finish(&stream, NARU_FOREVER) == 0 &&
                     right == COMMANDS,
                 "Session");
}

static int client_main(const char *url)
{
    naru_client *client;
    if (check(naru_client_open(url, NULL, &client) == 0, url))
        return 1;
    int failed = put_get_delete(client) || load_and_watch(client) || pipeline(client);
    naru_client_close(client);
    return failed;
}

int main(int argc, char **argv)
{
    static struct store store;
    naru_service service = store_service();
    naru_server *server;
    char own[64];
    const char *url = argc > 1 ? argv[1] : own;
    snprintf(own, sizeof own, "shm:example-store-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &service, &store) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        int failed = client_main(url);
        naru_server_close(server); /* this process's copy */
        return failed;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0)
        naru_server_process(server, 20 * NARU_MS);
    naru_server_shutdown(server, NARU_S);
    int failed = server_main(server);
    naru_server_close(server);
    store_free(&store);
    return failed || status != 0;
}
