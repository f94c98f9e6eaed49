/* SPDX-License-Identifier: MIT */
/* main.c - protoc-gen-naru: what protoc runs for --naru_out. A request comes on standard input and
 * the response goes to standard output, both as plugin.proto of protobuf describes them. */
#include "protoc-gen-naru/check.h"
#include "protoc-gen-naru/messages.h"
#include "protoc-gen-naru/text.h"
#include "protoc-gen-naru/write.h"

#include <errno.h>
#include <naru/protobuf.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "protoc-gen-naru %s: C for services of .proto files\n"
    "\n"
    "protoc --naru_out=DIRECTORY FILE.proto ...\n"
    "\n"
    "protoc runs it by itself, if it is in PATH. For each FILE it makes FILE.pb-c.h and\n"
    "FILE.pb-c.c, the messages as protobuf-c has them, and for one with a service FILE.naru.h and\n"
    "FILE.naru.c: calls for the client, a table of handlers for the server. Files that are\n"
    "imported are made by naming them, too, such as google/protobuf/timestamp.proto.\n"
    "\n"
    "  --help      this text\n"
    "  --version   the version\n"
    "\n"
    "protoc-gen-naru(1) and naru-proto(7) tell more.\n";

static uint8_t *read_all(size_t *ret_size)
{
    struct text t;
    char block[65536];
    ssize_t n;
    begin_text(&t);
    while ((n = read(STDIN_FILENO, block, sizeof block)) > 0)
        fwrite(block, 1, (size_t)n, t.out);
    if (n < 0) {
        fprintf(stderr, "protoc-gen-naru: standard input cannot be read: %s\n", strerror(errno));
        return NULL;
    }
    end_text(&t);
    *ret_size = t.size;
    return (uint8_t *)t.data;
}

static void add_file(Response *response, char *name, char *content)
{
    Google__Protobuf__Compiler__CodeGeneratorResponse__File *file = make(sizeof *file);
    google__protobuf__compiler__code_generator_response__file__init(file);
    file->name = name;
    file->content = content;
    response->file = grow(response->file, response->n_file, sizeof *response->file);
    response->file[response->n_file++] = file;
}

/* Everything is refused before anything is made. */
static void answer(Request *request, Response *response)
{
    if (*str(request->parameter)) {
        response->error =
            print("--naru_out takes no parameter, and \"%s\" is one", request->parameter);
        return;
    }
    struct model model = model_of(request);
    check(&model);
    response->error = (char *)refused();
    if (response->error)
        return;
    for (size_t i = 0; i < model.n; i++) {
        const struct unit *unit = &model.units[i];
        if (unit->n == 0)
            continue;
        add_file(response, print("%s.naru.h", unit->stem), header_of(unit));
        add_file(response, print("%s.naru.c", unit->stem), source_of(unit, request));
    }
    add_messages(request, &model, response);
}

static int write_response(const Response *response)
{
    size_t size = google__protobuf__compiler__code_generator_response__get_packed_size(response);
    uint8_t *data = make(size);
    google__protobuf__compiler__code_generator_response__pack(response, data);
    if (fwrite(data, 1, size, stdout) == size && fflush(stdout) == 0)
        return 0;
    fprintf(stderr, "protoc-gen-naru: standard output cannot be written: %s\n", strerror(errno));
    return 1;
}

static int generate(void)
{
    size_t size;
    void *request;
    uint8_t *data = read_all(&size);
    if (!data)
        return 1;
    int r = naru_protobuf_unpack(&google__protobuf__compiler__code_generator_request__descriptor,
                                 data, size, &request);
    if (r < 0) {
        fprintf(stderr,
                "protoc-gen-naru: the %zu bytes on standard input are no request of protoc's\n",
                size);
        return 1;
    }
    Response response = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
    response.has_supported_features = 1;
    response.supported_features =
        GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FEATURE__FEATURE_PROTO3_OPTIONAL;
    answer(request, &response);
    if (response.error)
        response.n_file = 0;
    return write_response(&response);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("protoc-gen-naru %s\n", NARU_VERSION_TEXT);
        return fflush(stdout) != 0;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf(help, NARU_VERSION_TEXT);
        return fflush(stdout) != 0;
    }
    if (argc > 1) {
        fprintf(stderr, "protoc-gen-naru: \"%s\" is no option; --help tells what there is\n",
                argv[1]);
        return 2;
    }
    if (isatty(STDIN_FILENO)) {
        fprintf(stderr, "protoc-gen-naru: it is run by protoc, not by hand; --help tells how\n");
        return 2;
    }
    _exit(generate()); /* nothing was freed, and a tool that looks for that has no need to look */
}
