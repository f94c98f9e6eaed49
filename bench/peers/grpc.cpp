/* SPDX-License-Identifier: MIT */
/* grpc.cpp - gRPC C++ over a unix socket: its synchronous and its callback interface. With more
 * than one call in flight both clients use the callback stub, whose threads tell what is over. */
#include "bench/peers/peers.h"
#include "bench/peers/sums.grpc.pb.h"

#include <condition_variable>
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

struct synchronous final : bench::Sums::Service {
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

std::unique_ptr<grpc::Service> service;
std::unique_ptr<grpc::Server> server;
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
    return std::string("unix:") + bench_socket();
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
    stub = bench::Sums::NewStub(grpc::CreateChannel(address(), grpc::InsecureChannelCredentials()));
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
    server.reset();
    service.reset();
}
