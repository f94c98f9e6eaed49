/* SPDX-License-Identifier: MIT */
/* mq-sysv.c - a program that has never heard of naru: System V message queues, msgop(2).
 *
 *   mq-sysv send PATH ID TYPE TEXT [TYPE TEXT ...]
 *   mq-sysv recv PATH ID MSGTYP [MSGTYP ...]   msgrcv(2) with each; prints "TYPE TEXT"
 *   mq-sysv structs PATH ID MSGTYP [...]       the same; type 1 is a struct point, 2 a color
 *
 * The queue is made if it is not there. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

/* As both sides have agreed upon. */
struct point {
    int32_t x, y;
};
struct color {
    uint8_t red, green, blue;
};

static struct {
    long type;
    union {
        char text[65536];
        struct point point;
        struct color color;
    };
} message;

static int failed(const char *what)
{
    perror(what);
    return 1;
}

static int send_all(int q, char **words)
{
    for (; words[0] && words[1]; words += 2) {
        size_t n = strlen(words[1]);
        message.type = atol(words[0]);
        if (n > sizeof message.text)
            return 2;
        memcpy(message.text, words[1], n);
        if (msgsnd(q, &message, n, 0) < 0)
            return failed("msgsnd");
    }
    return 0;
}

static int print_struct(ssize_t size)
{
    if (message.type == 1 && size == sizeof(struct point))
        printf("point %d %d\n", (int)message.point.x, (int)message.point.y);
    else if (message.type == 2 && size == sizeof(struct color))
        printf("color %u %u %u\n", message.color.red, message.color.green, message.color.blue);
    else
        return fprintf(stderr, "type %ld has %zd bytes\n", message.type, size), 1;
    return 0;
}

static int receive(int q, char **types, int structs)
{
    for (; *types; types++) {
        ssize_t size = msgrcv(q, &message, sizeof message.text, atol(*types), 0);
        if (size < 0)
            return failed("msgrcv");
        if (!structs)
            printf("%ld %.*s\n", message.type, (int)size, message.text);
        else if (print_struct(size))
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    key_t key = ftok(argv[2], atoi(argv[3]));
    int q = key == (key_t)-1 ? -1 : msgget(key, IPC_CREAT | 0600);
    if (q < 0)
        return failed(argv[2]);
    if (strcmp(argv[1], "send") == 0)
        return send_all(q, argv + 4);
    return receive(q, argv + 4, strcmp(argv[1], "structs") == 0);
}
