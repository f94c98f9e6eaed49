/* SPDX-License-Identifier: MIT */
/* schema.cpp - see schema.h. The server is not trusted: its files are checked by protobuf's library
 * as it builds them, and how many and how large they may be in all is limited. */
#include "tool/schema.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/json_util.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace pb = google::protobuf;

namespace
{

constexpr size_t FILES_MAX = 2000, BYTES_MAX = 64 << 20;

char *copy(const std::string &text)
{
    char *result = static_cast<char *>(malloc(text.size() + 1));
    if (result)
        memcpy(result, text.c_str(), text.size() + 1);
    return result;
}

/* protoc tells the name in JSON of each field; where it is what it would be anyway, nobody needs to
 * read it. */
std::string json_name(const std::string &name)
{
    std::string result;
    bool up = false;
    for (char c : name) {
        if (c != '_')
            result += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
        up = c == '_';
    }
    return result;
}

template <class Fields> void drop_json_names(Fields *fields)
{
    for (pb::FieldDescriptorProto &field : *fields)
        if (field.json_name() == json_name(field.name()))
            field.clear_json_name();
}

void drop_json_names(pb::DescriptorProto *type)
{
    drop_json_names(type->mutable_field());
    drop_json_names(type->mutable_extension());
    for (pb::DescriptorProto &nested : *type->mutable_nested_type())
        drop_json_names(&nested);
}

/* The files that came, and asking for those that did not come yet. */
class Files : public pb::DescriptorDatabase
{
  public:
    explicit Files(const schema_source &source) : source_(source)
    {
    }

    bool FindFileByName(const std::string &name, pb::FileDescriptorProto *file) override
    {
        return known_.FindFileByName(name, file) ||
               (fetch(SCHEMA_FILE, name, 0) && known_.FindFileByName(name, file));
    }

    bool FindFileContainingSymbol(const std::string &name, pb::FileDescriptorProto *file) override
    {
        return known_.FindFileContainingSymbol(name, file) ||
               (fetch(SCHEMA_SYMBOL, name, 0) && known_.FindFileContainingSymbol(name, file));
    }

    bool FindFileContainingExtension(const std::string &type, int number,
                                     pb::FileDescriptorProto *file) override
    {
        return known_.FindFileContainingExtension(type, number, file) ||
               (fetch(SCHEMA_EXTENSION, type, number) &&
                known_.FindFileContainingExtension(type, number, file));
    }

    bool FindAllExtensionNumbers(const std::string &type, std::vector<int> *numbers) override
    {
        struct numbers_of {
            static void got(void *to, const void *, size_t, int number)
            {
                static_cast<std::vector<int> *>(to)->push_back(number);
            }
        };
        return source_.ask(source_.arg, SCHEMA_EXTENSIONS, type.c_str(), 0, numbers_of::got,
                           numbers) == 0;
    }

    std::string why; /* of the last that failed */

  private:
    static void got(void *to, const void *data, size_t size, int)
    {
        static_cast<Files *>(to)->add(data, size);
    }

    void add(const void *data, size_t size)
    {
        pb::FileDescriptorProto file, known;
        bytes_ += size;
        if (++files_ > FILES_MAX || bytes_ > BYTES_MAX)
            why = "the server has more than 2000 .proto files, or 64 MiB of them";
        else if (!file.ParseFromArray(data, static_cast<int>(size)))
            why = "the server gives what is no FileDescriptorProto";
        for (pb::DescriptorProto &type : *file.mutable_message_type())
            drop_json_names(&type);
        if (!why.empty())
            return;
        if (!known_.FindFileByName(file.name(), &known) && !known_.Add(file))
            why = "the server gives two files that define the same: " + file.name();
    }

    bool fetch(schema_asks asks, const std::string &name, int number)
    {
        if (files_ > FILES_MAX || bytes_ > BYTES_MAX)
            return false;
        return source_.ask(source_.arg, asks, name.c_str(), number, got, this) == 0;
    }

    schema_source source_;
    pb::SimpleDescriptorDatabase known_;
    size_t files_ = 0, bytes_ = 0;
};

/* What is wrong with a file. */
class Faults : public pb::DescriptorPool::ErrorCollector
{
  public:
    explicit Faults(Files *files) : files_(files)
    {
    }
    void AddError(const std::string &file, const std::string &element, const pb::Message *,
                  ErrorLocation, const std::string &message) override
    {
        if (files_->why.empty())
            files_->why = "the server's " + file + " is wrong: " + element + ": " + message;
    }

  private:
    Files *files_;
};

} // namespace

struct schema {
    explicit schema(const schema_source &source)
        : files(source), faults(&files), pool(&files, &faults), factory(&pool)
    {
    }
    std::mutex lock;
    Files files;
    Faults faults;
    pb::DescriptorPool pool;
    pb::DynamicMessageFactory factory;
};

namespace
{

/* What is known of a failure, or what to say else. */
char *reason(schema *s, const std::string &otherwise)
{
    std::string why = s->files.why.empty() ? otherwise : s->files.why;
    s->files.why.clear();
    return copy(why);
}

schema *open_schema(const schema_source *source)
{
    pb::SetLogHandler(nullptr); /* what it would print is told by its results */
    return new schema(*source);
}

void close_schema(schema *s)
{
    delete s;
}

int methods(schema *s, const char *name, void (*each)(void *, const schema_method *), void *arg,
            char **ret_why)
{
    std::lock_guard<std::mutex> hold(s->lock);
    const pb::ServiceDescriptor *service = s->pool.FindServiceByName(name);
    if (!service) {
        *ret_why =
            reason(s, std::string("the server does not describe a service \"") + name + "\"");
        return -1;
    }
    for (int i = 0; i < service->method_count(); i++) {
        const pb::MethodDescriptor *m = service->method(i);
        std::string path = service->full_name() + "/" + m->name();
        schema_method method = {path.c_str(), m->input_type()->full_name().c_str(),
                                m->output_type()->full_name().c_str(), m->client_streaming(),
                                m->server_streaming()};
        each(arg, &method);
    }
    return 0;
}

/* A definition of any sort: the .proto text, or as protobuf's own message. */
struct definition {
    const char *kind = nullptr;
    const pb::FileDescriptor *file = nullptr;
    std::string text;
    std::unique_ptr<pb::Message> message;

    template <class Proto, class Descriptor> void take(const char *what, const Descriptor *d)
    {
        auto proto = std::make_unique<Proto>();
        d->CopyTo(proto.get());
        kind = what;
        file = d->file();
        text = d->DebugString();
        message = std::move(proto);
    }
};

definition find(schema *s, const std::string &name)
{
    definition d;
    if (auto *service = s->pool.FindServiceByName(name))
        d.take<pb::ServiceDescriptorProto>("service", service);
    else if (auto *method = s->pool.FindMethodByName(name))
        d.take<pb::MethodDescriptorProto>("method", method);
    else if (auto *type = s->pool.FindMessageTypeByName(name))
        d.take<pb::DescriptorProto>("message", type);
    else if (auto *enumeration = s->pool.FindEnumTypeByName(name))
        d.take<pb::EnumDescriptorProto>("enum", enumeration);
    else if (auto *value = s->pool.FindEnumValueByName(name))
        d.take<pb::EnumValueDescriptorProto>("enum value", value);
    else if (auto *field = s->pool.FindFieldByName(name))
        d.take<pb::FieldDescriptorProto>("field", field);
    else if (auto *extension = s->pool.FindExtensionByName(name))
        d.take<pb::FieldDescriptorProto>("extension", extension);
    return d;
}

char *describe(schema *s, const char *symbol, bool json, char **ret_why)
{
    std::lock_guard<std::mutex> hold(s->lock);
    std::string name = symbol;
    size_t slash = name.find('/');
    if (slash != std::string::npos)
        name[slash] = '.';
    definition d = find(s, name);
    if (!d.kind) {
        *ret_why = reason(s, "the server describes nothing named \"" + name + "\"");
        return nullptr;
    }
    if (!json)
        return copy(d.text);
    std::string body;
    (void)pb::util::MessageToJsonString(*d.message, &body);
    return copy("{\"symbol\":\"" + name + "\",\"kind\":\"" + d.kind + "\",\"file\":\"" +
                d.file->name() + "\",\"definition\":" + body + "}");
}

std::unique_ptr<pb::Message> make(schema *s, const char *type, char **ret_why)
{
    const pb::Descriptor *d = s->pool.FindMessageTypeByName(type);
    if (!d) {
        *ret_why = reason(s, std::string("the server does not describe \"") + type + "\"");
        return nullptr;
    }
    return std::unique_ptr<pb::Message>(s->factory.GetPrototype(d)->New());
}

void *pack(schema *s, const char *type, const char *json, size_t n, size_t *ret_size,
           char **ret_why)
{
    std::lock_guard<std::mutex> hold(s->lock);
    auto message = make(s, type, ret_why);
    if (!message)
        return nullptr;
    auto status = pb::util::JsonStringToMessage(pb::StringPiece(json, static_cast<ptrdiff_t>(n)),
                                                message.get());
    std::string packed;
    if (!status.ok() || !message->SerializeToString(&packed)) {
        std::string what =
            status.ok() ? "a required field is missing: " + message->InitializationErrorString()
                        : std::string(status.message());
        *ret_why = copy("it is no " + std::string(type) + ": " + what);
        return nullptr;
    }
    char *data = static_cast<char *>(malloc(packed.size() + 1));
    if (data)
        memcpy(data, packed.data(), packed.size());
    else
        *ret_why = copy("no memory");
    *ret_size = packed.size();
    return data;
}

char *print(schema *s, const char *type, const void *data, size_t n, char **ret_why)
{
    std::lock_guard<std::mutex> hold(s->lock);
    auto message = make(s, type, ret_why);
    if (!message)
        return nullptr;
    pb::util::JsonPrintOptions options;
    options.always_print_primitive_fields = true; /* a 0 that is there is shown */
    std::string json;
    if (n > INT32_MAX || !message->ParsePartialFromArray(data, static_cast<int>(n))) {
        *ret_why = copy(std::to_string(n) + " bytes came that are no " + type);
        return nullptr;
    }
    auto status = pb::util::MessageToJsonString(*message, &json, options);
    if (!status.ok()) {
        *ret_why = copy("a " + std::string(type) +
                        " came that JSON cannot say: " + std::string(status.message()));
        return nullptr;
    }
    return copy(json);
}

} // namespace

const schema_ops naru_schema_ops = {
    sizeof(schema_ops), open_schema, close_schema, methods, describe, pack, print,
};
