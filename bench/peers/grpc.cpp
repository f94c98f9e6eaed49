/* SPDX-License-Identifier: MIT */
/* grpc.cpp - gRPC C++ over a unix socket and TCP: its synchronous interface, its callback interface
 * and its completion queues. With more than one call in flight a synchronous client uses the
 * callback stub, whose threads tell what is over; with queues one thread does all at each side.
 *
 * Streams are of the synchronous interface, and of bytes, as naru's are: no message of protobuf is
 * made or parsed. In one direction TOGETHER messages may leave in one write (buffer hint); were all
 * of them hinted, a server's of version 1.51 would never leave. */
#include "bench/peers/peers.h"
#include "bench/peers/sums.grpc.pb.h"

#include <condition_variable>
#include <cstring>
#include <grpcpp/grpcpp.h>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace
{

/* What a server's Stop is waited for with. */
struct stopping {
    std::mutex lock;
    std::condition_variable told;
    bool is = false;

    void tell()
    {
        std::lock_guard<std::mutex> held(lock);
        is = true;
        told.notify_one();
    }
    void wait()
    {
        std::unique_lock<std::mutex> held(lock);
        told.wait(held, [this] { return is; });
    }
} stopping;

struct synchronous : bench::Sums::Service {
    grpc::Status Add(grpc::ServerContext *, const bench::Pair *in, bench::Sum *out) override
    {
        out->set_sum(in->a() + in->b());
        return grpc::Status::OK;
    }
    grpc::Status Stop(grpc::ServerContext *, const bench::Sum *, bench::Sum *) override
    {
        stopping.tell();
        return grpc::Status::OK;
    }
};

struct callback final : bench::Sums::CallbackService {
    static grpc::ServerUnaryReactor *done(grpc::CallbackServerContext *context)
    {
        auto *reactor = context->DefaultReactor();
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }
    grpc::ServerUnaryReactor *Add(grpc::CallbackServerContext *context, const bench::Pair *in,
                                  bench::Sum *out) override
    {
        out->set_sum(in->a() + in->b());
        return done(context);
    }
    grpc::ServerUnaryReactor *Stop(grpc::CallbackServerContext *context, const bench::Sum *,
                                   bench::Sum *) override
    {
        stopping.tell();
        return done(context);
    }
};

std::unique_ptr<grpc::Service> service, streaming;
std::unique_ptr<grpc::Server> server;
std::shared_ptr<grpc::Channel> channel;
std::unique_ptr<bench::Sums::Stub> stub;

/* Calls that are over, from gRPC's threads to the one that measures. */
std::mutex lock;
std::condition_variable some_over;
std::vector<std::pair<uint64_t, uint64_t>> over;
std::string failed;

struct in_flight {
    grpc::ClientContext context;
    bench::Pair in;
    bench::Sum out;
};

int say(const grpc::Status &status)
{
    return bench_say("gRPC: %s", status.error_message().c_str());
}

std::string address()
{
    return bench_port() ? "127.0.0.1:" + std::to_string(bench_port())
                        : std::string("unix:") + bench_socket();
}

int serve_at(grpc::Service *made)
{
    service.reset(made);
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    builder.RegisterService(service.get());
    server = builder.BuildAndStart();
    return server ? 0 : bench_say("gRPC: no server at %s", address().c_str());
}

int open_client()
{
    if (bench_await_socket())
        return -1;
    channel = grpc::CreateChannel(address(), grpc::InsecureChannelCredentials());
    stub = bench::Sums::NewStub(channel);
    return 0;
}

void begin(uint64_t number)
{
    auto *call = new in_flight;
    call->in.set_a(number);
    call->in.set_b(1);
    stub->async()->Add(&call->context, &call->in, &call->out, [call, number](grpc::Status status) {
        std::lock_guard<std::mutex> held(lock);
        if (!status.ok())
            failed = status.error_message();
        over.emplace_back(number, call->out.sum());
        delete call;
        some_over.notify_one();
    });
}

} // namespace

int bench_grpc_attach(int side)
{
    return side == 1 ? serve_at(new synchronous) : open_client();
}

int bench_grpc_callback_attach(int side)
{
    return side == 1 ? serve_at(new callback) : open_client();
}

int bench_grpc_start(uint64_t number)
{
    if (bench_size > 1) {
        begin(number);
        return 0;
    }
    in_flight call;
    call.in.set_a(number);
    call.in.set_b(1);
    const grpc::Status status = stub->Add(&call.context, call.in, &call.out);
    return status.ok() ? bench_called(number, call.out.sum()) : say(status);
}

int bench_grpc_callback_start(uint64_t number)
{
    begin(number);
    return 0;
}

int bench_grpc_callback_harvest(void)
{
    std::vector<std::pair<uint64_t, uint64_t>> these;
    {
        std::unique_lock<std::mutex> held(lock);
        some_over.wait(held, [] { return !over.empty(); });
        these.swap(over);
        if (!failed.empty())
            return bench_say("gRPC: %s", failed.c_str());
    }
    for (const auto &one : these)
        if (bench_called(one.first, one.second))
            return -1;
    return 0;
}

int bench_grpc_harvest(void)
{
    return bench_size > 1 ? bench_grpc_callback_harvest() : 0;
}

int bench_grpc_serve(void)
{
    stopping.wait();
    server->Shutdown();
    server->Wait();
    return 0;
}

int bench_grpc_finish(void)
{
    grpc::ClientContext context;
    bench::Sum none;
    const grpc::Status status = stub->Stop(&context, none, &none);
    return status.ok() ? 0 : say(status);
}

void bench_grpc_detach(int)
{
    stub.reset();
    channel.reset();
    server.reset();
    service.reset();
    streaming.reset();
}

/* ---- completion queues ---- */

namespace
{

std::unique_ptr<grpc::ServerCompletionQueue> requests;
std::unique_ptr<grpc::CompletionQueue> answers;

struct queued_call {
    grpc::ClientContext context;
    bench::Pair in;
    bench::Sum out;
    grpc::Status status;
    uint64_t number;
    std::unique_ptr<grpc::ClientAsyncResponseReader<bench::Sum>> reader;
};

struct served_call {
    grpc::ServerContext context;
    bench::Pair in;
    bench::Sum out;
    grpc::ServerAsyncResponseWriter<bench::Sum> writer{&context};
    bool stops = false, answered = false;
};

using queued_service = bench::Sums::AsyncService;

void request_one(bool stop)
{
    auto *self = static_cast<queued_service *>(service.get());
    auto *call = new served_call;
    call->stops = stop;
    if (stop)
        self->RequestStop(&call->context, &call->out, &call->writer, requests.get(), requests.get(),
                          call);
    else
        self->RequestAdd(&call->context, &call->in, &call->writer, requests.get(), requests.get(),
                         call);
}

} // namespace

int bench_grpc_queue_attach(int side)
{
    if (side == 0) {
        answers = std::make_unique<grpc::CompletionQueue>();
        return open_client();
    }
    service = std::make_unique<queued_service>();
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    builder.RegisterService(service.get());
    requests = builder.AddCompletionQueue();
    server = builder.BuildAndStart();
    return server ? 0 : bench_say("gRPC: no server at %s", address().c_str());
}

int bench_grpc_queue_serve(void)
{
    enum { READY = 1000 }; /* for as many calls as may be in flight */
    void *tag;
    bool ok;
    request_one(true);
    for (int i = 0; i < READY; i++)
        request_one(false);
    while (requests->Next(&tag, &ok)) {
        auto *call = static_cast<served_call *>(tag);
        if (ok && !call->answered) {
            if (!call->stops)
                request_one(false);
            call->answered = true;
            call->out.set_sum(call->in.a() + call->in.b());
            call->writer.Finish(call->out, grpc::Status::OK, call);
            continue;
        }
        if (ok && call->stops) {
            server->Shutdown(std::chrono::system_clock::now());
            requests->Shutdown();
        }
        delete call;
    }
    return 0;
}

int bench_grpc_queue_start(uint64_t number)
{
    auto *call = new queued_call;
    call->number = number;
    call->in.set_a(number);
    call->in.set_b(1);
    call->reader = stub->AsyncAdd(&call->context, call->in, answers.get());
    call->reader->Finish(&call->out, &call->status, call);
    return 0;
}

int bench_grpc_queue_harvest(void)
{
    void *tag;
    bool ok;
    if (!answers->Next(&tag, &ok))
        return bench_say("gRPC: the queue is over");
    std::unique_ptr<queued_call> call(static_cast<queued_call *>(tag));
    return call->status.ok() ? bench_called(call->number, call->out.sum()) : say(call->status);
}

void bench_grpc_queue_detach(int side)
{
    void *tag;
    bool ok;
    bench_grpc_detach(side);
    if (answers)
        answers->Shutdown();
    while (answers && answers->Next(&tag, &ok))
        ;
    answers.reset();
    requests.reset();
}

/* ---- streams of bytes ---- */

namespace
{

enum { WORDS = 8 /* of a message that is answered, as naru's */, TOGETHER = 32 };
using bytes = grpc::ByteBuffer;
using grpc::internal::RpcMethod;

const char *const up_path = "/bench.Sums/Up", *const down_path = "/bench.Sums/Down",
                  *const both_path = "/bench.Sums/AddAll";

void (*in_handler)();
grpc::internal::WriterInterface<bytes> *out;
grpc::internal::ReaderInterface<bytes> *in;
grpc::ClientContext *context;

bytes from(const void *data, size_t n)
{
    grpc::Slice slice(data, n);
    return bytes(&slice, 1);
}

int put_into(const bytes &message, void *buf, size_t n)
{
    std::vector<grpc::Slice> slices;
    if (message.Length() != n || !message.Dump(&slices).ok())
        return bench_say("a message of %zu bytes", message.Length());
    for (const auto &s : slices) {
        memcpy(buf, s.begin(), s.size());
        buf = static_cast<char *>(buf) + s.size();
    }
    return 0;
}

/* What the compiler of .proto files makes of a service, for methods of plain bytes. */
struct streams final : grpc::Service {
    streams()
    {
        using namespace grpc::internal;
        AddMethod(new RpcServiceMethod(up_path, RpcMethod::CLIENT_STREAMING,
                                       new ClientStreamingHandler<streams, bytes, bytes>(
                                           [](streams *, grpc::ServerContext *,
                                              grpc::ServerReader<bytes> *reader, bytes *answer) {
                                               in = reader;
                                               in_handler();
                                               *answer = from("", 0);
                                               return grpc::Status::OK;
                                           },
                                           this)));
        AddMethod(new RpcServiceMethod(down_path, RpcMethod::SERVER_STREAMING,
                                       new ServerStreamingHandler<streams, bytes, bytes>(
                                           [](streams *, grpc::ServerContext *, const bytes *,
                                              grpc::ServerWriter<bytes> *writer) {
                                               out = writer;
                                               in_handler();
                                               return grpc::Status::OK;
                                           },
                                           this)));
        AddMethod(new RpcServiceMethod(
            both_path, RpcMethod::BIDI_STREAMING,
            new BidiStreamingHandler<streams, bytes, bytes>(
                [](streams *, grpc::ServerContext *, grpc::ServerReaderWriter<bytes, bytes> *both) {
                    return add_all(both);
                },
                this)));
    }

    static grpc::Status add_all(grpc::ServerReaderWriter<bytes, bytes> *both)
    {
        for (bytes message; both->Read(&message);) {
            uint64_t words[WORDS];
            if (put_into(message, words, sizeof words))
                return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "not so many words");
            words[0] += words[1];
            if (!both->Write(from(words, sizeof words)))
                break;
        }
        return grpc::Status::OK;
    }
};

std::unique_ptr<grpc::ClientReaderWriter<bytes, bytes>> both;
uint64_t came_back;

int serve_streams()
{
    streaming = std::make_unique<streams>();
    service = std::make_unique<synchronous>();
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    builder.RegisterService(service.get());
    builder.RegisterService(streaming.get());
    server = builder.BuildAndStart();
    return server ? 0 : bench_say("gRPC: no server at %s", address().c_str());
}

int end_stream(const grpc::Status &status)
{
    return status.ok() ? bench_grpc_finish() : say(status);
}

} // namespace

int bench_grpc_up_attach(int side)
{
    return side == 1 ? serve_streams() : open_client();
}

int bench_grpc_down_attach(int side)
{
    return bench_grpc_up_attach(!side);
}

int bench_grpc_up_within(int side, void (*exchange)(void))
{
    in_handler = exchange;
    if (side == 1)
        return bench_grpc_serve();
    grpc::ClientContext of_call;
    bytes answer;
    const RpcMethod method(up_path, RpcMethod::CLIENT_STREAMING);
    std::unique_ptr<grpc::ClientWriter<bytes>> writer(
        grpc::internal::ClientWriterFactory<bytes>::Create(channel.get(), method, &of_call,
                                                           &answer));
    out = writer.get();
    exchange();
    writer->WritesDone();
    return end_stream(writer->Finish());
}

int bench_grpc_down_within(int side, void (*exchange)(void))
{
    in_handler = exchange;
    if (side == 0)
        return bench_grpc_serve();
    grpc::ClientContext of_call;
    bytes none = from("", 0), rest;
    const RpcMethod method(down_path, RpcMethod::SERVER_STREAMING);
    std::unique_ptr<grpc::ClientReader<bytes>> reader(
        grpc::internal::ClientReaderFactory<bytes>::Create(channel.get(), method, &of_call, none));
    in = reader.get();
    exchange();
    if (reader->Read(&rest))
        return bench_say("gRPC: a message behind the last one");
    return end_stream(reader->Finish());
}

int bench_grpc_send(const void *buf, size_t n)
{
    static uint64_t sent;
    grpc::WriteOptions options;
    if (sent++ % TOGETHER && !bench_is_last(buf))
        options.set_buffer_hint();
    return out->Write(from(buf, n), options) ? 0 : bench_say("gRPC: the stream is over");
}

int bench_grpc_recv(void *buf, size_t n)
{
    bytes message;
    return in->Read(&message) ? put_into(message, buf, n) : bench_say("gRPC: the stream is over");
}

int bench_grpc_both_attach(int side)
{
    if (bench_grpc_up_attach(side))
        return -1;
    if (side == 1)
        return 0;
    const RpcMethod method(both_path, RpcMethod::BIDI_STREAMING);
    context = new grpc::ClientContext;
    came_back = 0;
    both.reset(grpc::internal::ClientReaderWriterFactory<bytes, bytes>::Create(channel.get(),
                                                                               method, context));
    return 0;
}

int bench_grpc_both_start(uint64_t number)
{
    const uint64_t words[WORDS] = {number, 1};
    return both->Write(from(words, sizeof words)) ? 0 : bench_say("gRPC: the stream is over");
}

int bench_grpc_both_harvest(void)
{
    uint64_t words[WORDS];
    bytes message;
    if (!both->Read(&message) || put_into(message, words, sizeof words))
        return bench_say("gRPC: the stream is over");
    return bench_called(came_back++, words[0]);
}

int bench_grpc_both_finish(void)
{
    both->WritesDone();
    const grpc::Status status = both->Finish();
    both.reset();
    delete context;
    return end_stream(status);
}
