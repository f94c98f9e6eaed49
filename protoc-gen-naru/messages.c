/* SPDX-License-Identifier: MIT */
/* Runs protoc-gen-c, and asks it for what it can do. What it cannot is said in another way, which
 * is the same on the wire:
 *
 *   optional of proto3      a oneof of one field, which is what protoc has made of it already
 *   a name that is a        the name with an underscore behind; it knows some of them itself
 *   keyword
 *   services                left out: those of protobuf-c are not ours, and a method Double would
 *                           be a member "double" of a struct */
#include "protoc-gen-naru/messages.h"

#include "protoc-gen-naru/name.h"
#include "protoc-gen-naru/text.h"

#include <errno.h>
#include <naru/protobuf.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLUGIN "protoc-gen-c"

extern char **environ;

static void ease_message(Message *m)
{
    for (size_t i = 0; i < m->n_field; i++) {
        Field *field = m->field[i];
        char *lower = field_name(str(field->name));
        field->has_proto3_optional = 0;
        if (strlen(lower) > strlen(str(field->name)))
            field->name = print("%s_", field->name);
    }
    for (size_t i = 0; i < m->n_nested_type; i++)
        ease_message(m->nested_type[i]);
}

static void ease(Request *request)
{
    for (size_t i = 0; i < request->n_proto_file; i++) {
        Google__Protobuf__FileDescriptorProto *file = request->proto_file[i];
        file->n_service = 0;
        for (size_t j = 0; j < file->n_message_type; j++)
            ease_message(file->message_type[j]);
    }
}

static int fail(Response *response, const char *what, int code)
{
    response->error = print("%s: %s: %s", PLUGIN, what, strerror(code));
    return -1;
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0)
            return -1;
        data += n;
        size -= (size_t)n;
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? -1 : 0;
}

/* Runs the plugin with these files as its standard input and output. */
static int run(Response *response, int in, int out)
{
    posix_spawn_file_actions_t actions;
    char *const arguments[] = {PLUGIN, NULL};
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    int r = posix_spawnp(&pid, PLUGIN, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r == ENOENT) {
        response->error = PLUGIN " makes the messages and is not in PATH; Debian has it in "
                                 "protobuf-c-compiler";
        return -1;
    }
    if (r != 0)
        return fail(response, "cannot be started", r);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail(response, "cannot be waited for", errno);
    if (status == 0)
        return 0;
    response->error = WIFSIGNALED(status)
                          ? print(PLUGIN " ended with signal %d", WTERMSIG(status))
                          : print(PLUGIN " ended with exit status %d", WEXITSTATUS(status));
    return -1;
}

/* What it wrote becomes part of the response: its files, or its error. */
static int take(Response *response, int out)
{
    struct stat s;
    if (fstat(out, &s) < 0)
        return fail(response, "its output", errno);
    void *data = s.st_size ? mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, out, 0) : NULL;
    if (data == MAP_FAILED)
        return fail(response, "its output", errno);
    void *message;
    int r = naru_protobuf_unpack(&google__protobuf__compiler__code_generator_response__descriptor,
                                 data, (size_t)s.st_size, &message);
    if (r < 0)
        return fail(response, "its output", -r);
    const Response *its = message;
    if (its->error && *its->error) {
        response->error = its->error;
        return -1;
    }
    for (size_t i = 0; i < its->n_file; i++) {
        response->file = grow(response->file, response->n_file, sizeof *response->file);
        response->file[response->n_file++] = its->file[i];
    }
    return 0;
}

void add_messages(Request *request, Response *response)
{
    ease(request);
    size_t size = google__protobuf__compiler__code_generator_request__get_packed_size(request);
    uint8_t *data = make(size);
    google__protobuf__compiler__code_generator_request__pack(request, data);
    int in = memfd_create("request", MFD_CLOEXEC), out = memfd_create("response", MFD_CLOEXEC);
    if (in < 0 || out < 0 || write_all(in, data, size) < 0)
        fail(response, "its input", errno);
    else if (run(response, in, out) == 0)
        take(response, out);
    close(in);
    close(out);
}
