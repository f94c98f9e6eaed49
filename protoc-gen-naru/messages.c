/* SPDX-License-Identifier: MIT */
/* Runs protoc-gen-c, and asks it for what it can do. What it cannot is said in another way, which
 * is the same on the wire:
 *
 *   optional of proto3      a oneof of one field, which is what protoc has made of it already; a
 *                           message is just a field
 *   a field named as        with an underscore behind; it does that itself where it knows the
 *   a keyword               keyword
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

static Field *first_of_oneof(const Message *m, size_t index)
{
    for (size_t i = 0; i < m->n_field; i++)
        if (m->field[i]->has_oneof_index && (size_t)m->field[i]->oneof_index == index)
            return m->field[i];
    return NULL;
}

/* An optional message needs no oneof: NULL says that it is not there. */
static void ease_oneofs(Message *m)
{
    size_t n = 0, *becomes = make(m->n_oneof_decl * sizeof *becomes);
    for (size_t i = 0; i < m->n_oneof_decl; i++) {
        Field *only = first_of_oneof(m, i);
        if (only && only->proto3_optional &&
            only->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE) {
            only->has_oneof_index = 0;
            continue;
        }
        becomes[i] = n;
        m->oneof_decl[n++] = m->oneof_decl[i];
    }
    for (size_t i = 0; i < m->n_field; i++)
        if (m->field[i]->has_oneof_index && (size_t)m->field[i]->oneof_index < m->n_oneof_decl)
            m->field[i]->oneof_index = (int32_t)becomes[m->field[i]->oneof_index];
    m->n_oneof_decl = n;
}

static void ease_message(Message *m)
{
    ease_oneofs(m);
    for (size_t i = 0; i < m->n_field; i++) {
        Field *field = m->field[i];
        field->name = eased_name(str(field->name));
        field->has_proto3_optional = 0;
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

static char *replace(char *text, const char *old, const char *by)
{
    for (char *at; (at = strstr(text, old));)
        text = print("%.*s%s%s", (int)(at - text), text, by, at + strlen(old));
    return text;
}

/* The type of the first member of a oneof's union, "" if it is not to be found. Which one that is
 * depends on the version of protobuf-c. */
static const char *first_type(const char *header, const char *oneof_case)
{
    const char *at = strstr(header, oneof_case);
    at = at ? strstr(at, "union {") : NULL;
    if (!at)
        return "";
    at += strlen("union {");
    for (;;) {
        at += strspn(at, " \n");
        const char *end = strncmp(at, "/*", 2) == 0 ? strstr(at, "*/") : NULL;
        if (!end)
            return print("%.*s", (int)strcspn(at, " "), at);
        at = end + 2;
    }
}

static bool is_enum(const struct model *model, const Message *m, const char *c)
{
    for (size_t i = 0; i < m->n_field; i++) {
        const struct type *type = type_named(model, m->field[i]->type_name);
        if (m->field[i]->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_ENUM &&
            type && strcmp(type->c, c) == 0)
            return true;
    }
    return false;
}

/* It has {0} for all unions: of bytes, C compilers warn of that, of an enum C++ compilers fail. */
static char *mend(char *header, const struct model *model, const File *file, const char *scope,
                  const Message *m)
{
    char *full_name = print("%s.%s", scope, str(m->name));
    for (size_t i = 0; i < m->n_oneof_decl; i++) {
        const char *name = str(m->oneof_decl[i]->name);
        const char *oneof = with_c_package(file, print("%s.%s", full_name, name));
        const char *first = first_type(
            header, print("%sCase %s_case;", spell(CAMEL, oneof, "__"), spell(LOWER, name, "_")));
        char *none = print(" %s__NOT_SET, {", spell(UPPER, oneof, "__"));
        if (strcmp(first, "ProtobufCBinaryData") == 0)
            header = replace(header, print("%s0}", none), print("%s{0,NULL}}", none));
        else if (is_enum(model, m, first))
            header = replace(header, print("%s0}", none), print("%s(%s)0}", none, first));
    }
    for (size_t i = 0; i < m->n_nested_type; i++)
        header = mend(header, model, file, full_name, m->nested_type[i]);
    return header;
}

static void mend_header(const Response *its, const struct model *model, const struct unit *unit)
{
    char *name = print("%s.pb-c.h", unit->stem);
    const File *file = unit->file;
    const char *scope = *str(file->package) ? print(".%s", file->package) : "";
    for (size_t i = 0; i < its->n_file; i++)
        for (size_t j = 0; strcmp(str(its->file[i]->name), name) == 0 && j < file->n_message_type;
             j++)
            its->file[i]->content =
                mend((char *)str(its->file[i]->content), model, file, scope, file->message_type[j]);
}

/* What it wrote becomes part of the response: its files, or its error. */
static int take(Response *response, const struct model *model, int out)
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
    for (size_t i = 0; i < model->n; i++)
        mend_header(its, model, &model->units[i]);
    for (size_t i = 0; i < its->n_file; i++) {
        response->file = grow(response->file, response->n_file, sizeof *response->file);
        response->file[response->n_file++] = its->file[i];
    }
    return 0;
}

void add_messages(Request *request, const struct model *model, Response *response)
{
    ease(request);
    size_t size = google__protobuf__compiler__code_generator_request__get_packed_size(request);
    uint8_t *data = make(size);
    google__protobuf__compiler__code_generator_request__pack(request, data);
    int in = memfd_create("request", MFD_CLOEXEC), out = memfd_create("response", MFD_CLOEXEC);
    if (in < 0 || out < 0 || write_all(in, data, size) < 0)
        fail(response, "its input", errno);
    else if (run(response, in, out) == 0)
        take(response, model, out);
    close(in);
    close(out);
}
