/* SPDX-License-Identifier: MIT */
/* spawn.c - programs with named ends; and limits and owners, explained. With an argument this
 * program is one of its own children. */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *self;

/* ---- the children ---- */

static int child_echo(void)
{
    naru_channel *c;
    struct naru_channel_options o = {.size = sizeof o, .max_message = 1000};
    char buf[1000];
    ssize_t n;
    if (naru_channel_inherit("talk", &o, &c) < 0)
        return 1;
    while ((n = naru_channel_recv(c, 0, buf, sizeof buf, NULL, PATIENCE)) >= 0)
        if (naru_channel_send(c, 1, buf, (size_t)n, PATIENCE) < 0)
            return 2;
    naru_channel_close(c);
    return n == -EPIPE ? 0 : 3;
}

static int child_stream(void)
{
    naru_stream *s, *again;
    char buf[4];
    if (naru_stream_inherit("s", &s) < 0 || naru_stream_inherit("s", &again) != -ENOENT)
        return 1;
    if (naru_stream_read_all(s, buf, 4, PATIENCE, NULL) < 0)
        return 2;
    int r = naru_stream_write_all(s, buf, 4, PATIENCE, NULL);
    naru_stream_close(s);
    return r < 0 ? 3 : 0;
}

/* ---- cases ---- */

static void both_ways(void)
{
    naru_stream *mine, *theirs;
    naru_child *child;
    struct naru_exit e;
    char buf[4];
    expect_ok(naru_stream_pair("pipe:", NULL, &mine, &theirs));
    struct naru_spawn_end end = {"s", theirs, -1};
    struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    expect_ok(naru_spawn((char *[]){(char *)self, "stream", NULL}, &o, &child));
    expect_ok(naru_stream_write_all(mine, "ping", 4, PATIENCE, NULL));
    expect_ok(naru_stream_read_all(mine, buf, 4, PATIENCE, NULL));
    expect(memcmp(buf, "ping", 4) == 0);
    expect_ok(naru_child_wait(child, PATIENCE, &e));
    expect(e.code == 0 && e.signal == 0);
    expect_code(0, naru_stream_read(mine, buf, 4, PATIENCE)); /* none of its ends stayed here */
    naru_child_close(child);
    naru_stream_close(mine);
}

static const char *const kinds[] = {"pipe:", "unix:", "shm:"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void limits_cross_over(const char *kind)
{
    static char block[2000];
    naru_channel *mine, *theirs;
    naru_child *child;
    struct naru_exit e;
    expect_ok(naru_channel_pair(kind, NULL, &mine, &theirs));
    struct naru_spawn_end end = {"talk", theirs, -1};
    struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    expect_ok(naru_spawn((char *[]){(char *)self, "echo", NULL}, &o, &child));
    expect_code(-EMSGSIZE, naru_channel_send(mine, 1, block, 1001, PATIENCE));
    expect_says("1000 B");
    expect_ok(naru_channel_send(mine, 1, block, 1000, PATIENCE));
    expect_code(1000, naru_channel_recv(mine, 0, block, sizeof block, NULL, PATIENCE));
    expect_ok(naru_channel_shutdown(mine));
    expect_ok(naru_child_wait(child, PATIENCE, &e));
    expect_code(0, e.code);
    naru_child_close(child);
    naru_channel_close(mine);
}

static void limits_cross(void)
{
    for (int i = 0; i < KINDS; i++)
        limits_cross_over(kinds[i]);
}

static void handshake_never_ends_over(const char *kind)
{
    naru_channel *mine, *theirs;
    naru_child *child;
    expect_ok(naru_channel_pair(kind, NULL, &mine, &theirs));
    struct naru_spawn_end end = {"talk", theirs, -1};
    struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    expect_ok(naru_spawn((char *[]){"sleep", "60", NULL}, &o, &child));
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, naru_channel_send(mine, 1, "x", 1, 100 * NARU_MS));
    expect(test_now() - before >= 100 * NARU_MS && test_now() - before < PATIENCE);
    expect_says("greeted");
    expect_ok(naru_child_signal(child, SIGKILL));
    expect_ok(naru_child_wait(child, PATIENCE, NULL));
    expect_code(-ECONNRESET, naru_channel_recv(mine, 0, NULL, 0, NULL, PATIENCE));
    naru_child_close(child);
    naru_channel_close(mine);
}

static void handshake_never_ends(void)
{
    for (int i = 0; i < KINDS; i++)
        handshake_never_ends_over(kinds[i]);
}

static void exits(void)
{
    naru_child *child;
    struct naru_exit e;
    expect_ok(naru_spawn((char *[]){"sh", "-c", "exit 7", NULL}, NULL, &child));
    expect_ok(naru_child_wait(child, PATIENCE, &e));
    expect(e.code == 7 && e.signal == 0);
    expect_ok(naru_child_wait(child, NARU_NOWAIT, &e)); /* the answer stays */
    expect_code(-ESRCH, naru_child_signal(child, SIGTERM));
    naru_child_close(child);
    expect_ok(naru_spawn((char *[]){"sleep", "60", NULL}, NULL, &child));
    expect_code(-EAGAIN, naru_child_wait(child, NARU_NOWAIT, &e));
    expect_code(-ETIMEDOUT, naru_child_wait(child, 30 * NARU_MS, &e));
    struct pollfd p = {naru_fd(child), POLLIN, 0};
    expect_code(0, poll(&p, 1, 20));
    expect_ok(naru_child_signal(child, SIGTERM));
    expect_code(1, poll(&p, 1, PATIENCE_MS));
    expect_ok(naru_child_wait(child, PATIENCE, &e));
    expect(e.code == -1 && e.signal == SIGTERM);
    naru_child_close(child);
}

static void cannot_start(void)
{
    char path[256];
    naru_stream *a, *b;
    naru_child *child = NULL;
    expect_ok(naru_stream_pair("pipe:", NULL, &a, &b));
    struct naru_spawn_end end = {"stdin", a, -1};
    struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    expect_code(-ENOENT, naru_spawn((char *[]){"no-such-program", NULL}, &o, &child));
    expect_says("no-such-program");
    expect_code(-EACCES, naru_spawn((char *[]){"/tmp", NULL}, &o, &child));
    expect_says("directory");
    snprintf(path, sizeof path, "%s/script", test_directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    expect(write(fd, "#!/no/such/interpreter\n", 23) == 23);
    close(fd);
    expect_code(-EACCES, naru_spawn((char *[]){path, NULL}, &o, &child));
    chmod(path, 0755);
    expect_code(-ENOENT, naru_spawn((char *[]){path, NULL}, &o, &child));
    expect_says("interpreter");
    unlink(path);
    o.directory = "/no/such/directory";
    expect_code(-ENOENT, naru_spawn((char *[]){"true", NULL}, &o, &child));
    expect_says("/no/such/directory");
    o.directory = NULL;
    struct naru_spawn_end bad = {"no good", b, -1};
    o.ends = &bad;
    expect_code(-EINVAL, naru_spawn((char *[]){"true", NULL}, &o, &child));
    expect(child == NULL);
    expect_ok(naru_stream_write_all(b, "ok", 2, PATIENCE, NULL)); /* the ends are as they were */
    char buf[2];
    expect_ok(naru_stream_read_all(a, buf, 2, PATIENCE, NULL));
    expect_code(-EAGAIN, naru_stream_read(a, buf, 2, NARU_NOWAIT)); /* also in their mode */
    naru_stream_close(a);
    naru_stream_close(b);
}

/* What a child has open, one number a line. */
static int listed(unsigned flags)
{
    struct naru_stream_options one_way = {.size = sizeof one_way, .direction = NARU_ONE_WAY};
    naru_stream *in, *out;
    naru_child *child;
    char text[200] = "";
    size_t n;
    expect_ok(naru_stream_pair("pipe:", &one_way, &in, &out));
    struct naru_spawn_end end = {"stdout", out, -1};
    struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1, .flags = flags};
    expect_ok(naru_spawn((char *[]){"ls", "/proc/self/fd", NULL}, &o, &child));
    naru_stream_read_all(in, text, sizeof text - 1, PATIENCE, &n);
    expect_ok(naru_child_wait(child, PATIENCE, NULL));
    naru_child_close(child);
    naru_stream_close(in);
    int lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    return lines;
}

static void no_leak(void)
{
    int fd = dup(0);           /* not close-on-exec */
    expect_code(4, listed(0)); /* 0, 1, 2, and the one that ls reads the directory with */
    expect(listed(NARU_SPAWN_SHARE_FDS) >= 5);
    close(fd);
    for (int i = 0; i < 100; i++)
        expect_code(4, listed(0));
    naru_child *child;
    struct naru_exit e;
    setenv("NARU_FD_mine", "stream:pipe:0:-", 1); /* this process's own end is not the child's */
    expect_ok(naru_spawn((char *[]){"sh", "-c", "test -z \"$NARU_FD_mine\"", NULL}, NULL, &child));
    unsetenv("NARU_FD_mine");
    expect_ok(naru_child_wait(child, PATIENCE, &e));
    expect(e.code == 0);
    naru_child_close(child);
}

static void second_user(void)
{
    const char *url = test_url("fifo:%s/private");
    naru_stream *s, *t;
    if (geteuid() != 0)
        test_skip("only root can become a second user");
    chmod(test_directory, 0755);
    expect_ok(naru_stream_open(url, NARU_READ, NULL, NARU_NOWAIT, &s));
    pid_t pid = fork();
    if (pid == 0) {
        expect(setgid(65534) == 0 && setuid(65534) == 0);
        expect_code(-EACCES, naru_stream_open(url, NARU_WRITE, NULL, NARU_NOWAIT, &t));
        expect_says("uid 0");
        expect_says("0600");
        expect_says("uid 65534");
        naru_channel *c;
        expect_code(-EACCES, naru_queue_open(url, NARU_RECV, NULL, &c));
        _exit(0);
    }
    end_child(pid);
    naru_stream_close(s);
    expect_ok(naru_remove(url));
}

static void something_else(void)
{
    naru_stream *s;
    char path[256];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(path, sizeof path, "%s/x", test_directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    expect_code(-EINVAL, naru_stream_open(test_url("fifo:%s/x"), NARU_READ, NULL, NARU_NOWAIT, &s));
    expect_says("a regular file");
    expect_code(-EINVAL, naru_remove(test_url("fifo:%s/x")));
    unlink(path);
    expect_code(-EINVAL, naru_stream_open(test_url("fifo:%s"), NARU_READ, NULL, NARU_NOWAIT, &s));
    expect_says("a directory");
    expect(symlink("/no/where", path) == 0);
    expect_code(-EINVAL, naru_stream_open(test_url("fifo:%s/x"), NARU_READ, NULL, NARU_NOWAIT, &s));
    expect_says("symbolic link");
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%.90s/x", test_directory);
    expect(bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    expect_code(-EINVAL, naru_stream_open(test_url("fifo:%s/x"), NARU_READ, NULL, NARU_NOWAIT, &s));
    expect_says("a socket");
    close(fd);
    unlink(path);
}

/* One two-way stream is both of a filter's ends. */
static void filter(void)
{
    naru_stream *mine, *theirs;
    naru_child *child;
    char back[16] = "";
    size_t done;
    expect_ok(naru_stream_pair("pipe:", NULL, &mine, &theirs));
    struct naru_spawn_end ends[] = {{"stdin", theirs, -1}, {"talk", theirs, -1}};
    struct naru_spawn_options o = {sizeof o, .ends = ends, .n_ends = 2};
    expect_code(-EINVAL, naru_spawn((char *[]){"cat", NULL}, &o, &child));
    expect_says("given twice");
    ends[1].name = "stdout";
    expect_ok(naru_spawn((char *[]){"tr", "a-z", "A-Z", NULL}, &o, &child));
    expect_ok(naru_stream_write_all(mine, "there and back", 14, PATIENCE, NULL));
    expect_ok(naru_stream_shutdown(mine, NARU_WRITE));
    expect_ok(naru_stream_read_all(mine, back, 14, PATIENCE, &done));
    expect(strcmp(back, "THERE AND BACK") == 0);
    expect_code(0, naru_stream_read(mine, back, 1, PATIENCE));
    expect_ok(naru_child_wait(child, PATIENCE, NULL));
    naru_child_close(child);
    naru_stream_close(mine);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"one two-way stream is a filter's stdin and stdout", filter},
        {"a named end, both ways", both_ways},
        {"the child's limits are kept at the sender", limits_cross},
        {"a greeting that never comes", handshake_never_ends},
        {"exit status, signal, descriptor", exits},
        {"what cannot be started is an error at the call", cannot_start},
        {"no descriptor leaks into the child", no_leak},
        {"a second user is told owner and mode", second_user},
        {"what is no FIFO is refused by what it is", something_else},
    };
    self = argv[0];
    if (argc == 2 && strcmp(argv[1], "echo") == 0)
        return child_echo();
    if (argc == 2 && strcmp(argv[1], "stream") == 0)
        return child_stream();
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
