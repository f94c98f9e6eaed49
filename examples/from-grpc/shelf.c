/* SPDX-License-Identifier: MIT */
/* shelf.c URL - the service of shelf_server.py in C: its .proto file and its clients stay as they
 * are. Says its URL, and ends with standard input. */
#include "shelf.naru.h"

#include <naru/naru.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 4, ROOM = 1000 };

struct shelf {
    pthread_mutex_t lock;         /* handlers run in WORKERS threads */
    Shelf__V1__Book *books[ROOM]; /* by their numbers; as they came, so freed as messages are */
    int n;
};

/* Where it is, or would be. */
static int place(const struct shelf *s, const char *isbn)
{
    int i = 0;
    while (i < s->n && strcmp(s->books[i]->isbn, isbn) < 0)
        i++;
    return i;
}

static Shelf__V1__Book *find(const struct shelf *s, const char *isbn)
{
    int i = place(s, isbn);
    return i < s->n && strcmp(s->books[i]->isbn, isbn) == 0 ? s->books[i] : NULL;
}

/* Takes the book over. */
static int put(struct shelf *s, Shelf__V1__Book *book)
{
    int i = place(s, book->isbn);
    if (find(s, book->isbn)) {
        shelf__v1__book__free_unpacked(s->books[i], NULL);
    } else if (s->n == ROOM) {
        shelf__v1__book__free_unpacked(book, NULL);
        return -1;
    } else {
        memmove(s->books + i + 1, s->books + i, sizeof *s->books * (size_t)(s->n++ - i));
    }
    s->books[i] = book;
    return 0;
}

static int get(naru_call *call, void *self, Shelf__V1__GetRequest *request)
{
    struct shelf *s = self;
    pthread_mutex_lock(&s->lock);
    const Shelf__V1__Book *book = find(s, request->isbn);
    int r = book ? shelf_v1_shelf_get_reply(call, book)
                 : naru_call_fail(call, NARU_STATUS_NOT_FOUND, "no book has the number %s",
                                  request->isbn);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int list(naru_call *call, void *self, Shelf__V1__ListRequest *request)
{
    struct shelf *s = self;
    int r = 0;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n && r == 0; i++)
        if (s->books[i]->year >= request->since)
            r = shelf_v1_shelf_list_reply(call, s->books[i], NARU_FOREVER);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int import(naru_call *call, void *self)
{
    static const char token[] = "open sesame";
    struct shelf *s = self;
    Shelf__V1__ImportReply reply = SHELF__V1__IMPORT_REPLY__INIT;
    Shelf__V1__Book *book;
    struct naru_metadata m;
    char size[16];
    int r;
    if (naru_call_header(call, "token", 0, &m) < 0 || m.size != sizeof token - 1 ||
        memcmp(m.value, token, m.size) != 0)
        return naru_call_fail(call, NARU_STATUS_UNAUTHENTICATED, "who are you?");
    while ((r = shelf_v1_shelf_import_next(call, NARU_FOREVER, &book)) > 0) {
        pthread_mutex_lock(&s->lock);
        r = put(s, book);
        pthread_mutex_unlock(&s->lock);
        if (r < 0)
            return naru_call_fail(call, NARU_STATUS_RESOURCE_EXHAUSTED, "the shelf is full");
        reply.books++;
    }
    if (r < 0)
        return r;
    snprintf(size, sizeof size, "%d", s->n);
    naru_call_set_trailer(call, &(struct naru_metadata){"shelf-size", size, strlen(size)});
    return shelf_v1_shelf_import_reply(call, &reply);
}

static int ask(naru_call *call, void *self)
{
    struct shelf *s = self;
    Shelf__V1__GetRequest *question;
    int r;
    while ((r = shelf_v1_shelf_ask_next(call, NARU_FOREVER, &question)) > 0) {
        Shelf__V1__Answer answer = SHELF__V1__ANSWER__INIT;
        answer.isbn = question->isbn;
        pthread_mutex_lock(&s->lock);
        answer.there = find(s, question->isbn) != NULL;
        pthread_mutex_unlock(&s->lock);
        r = shelf_v1_shelf_ask_reply(call, &answer, NARU_FOREVER);
        shelf__v1__get_request__free_unpacked(question, NULL);
        if (r < 0)
            break;
    }
    return r;
}

int main(int argc, char **argv)
{
    static const struct shelf_v1_shelf_handlers handlers = {
        .get = get, .list = list, .import = import, .ask = ask};
    static struct shelf shelf = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const struct naru_server_options options = {.size = sizeof options, .workers = WORKERS};
    naru_service service = shelf_v1_shelf_service(&handlers);
    naru_server *server;
    if (argc != 2)
        return fprintf(stderr, "usage: shelf URL\n"), 2;
    if (naru_server_new(&options, &server) < 0 || naru_server_add(server, &service, &shelf) < 0 ||
        naru_server_listen(server, argv[1]) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    printf("%s\n", naru_url(server));
    fflush(stdout);
    struct pollfd p[] = {{0, POLLIN, 0}, {naru_fd(server), POLLIN, 0}};
    while (poll(p, 2, -1) > 0 && !p[0].revents)
        naru_server_process(server, NARU_NOWAIT);
    naru_server_close(server);
    for (int i = 0; i < shelf.n; i++)
        shelf__v1__book__free_unpacked(shelf.books[i], NULL);
    return 0;
}
