/* SPDX-License-Identifier: MIT */
/* capnp.cpp - Cap'n Proto's calls between two parties over a unix socket (EzRpc). */
#include "bench/peers/peers.h"
#include "bench/peers/sums.capnp.h"

#include <capnp/ez-rpc.h>
#include <deque>
#include <memory>
#include <string>
#include <utility>

namespace
{

kj::Own<kj::PromiseFulfiller<void>> stopping;

struct sums final : Sums::Server {
    kj::Promise<void> add(AddContext context) override
    {
        auto in = context.getParams();
        context.getResults().setSum(in.getA() + in.getB());
        return kj::READY_NOW;
    }
    kj::Promise<void> stop(StopContext) override
    {
        stopping->fulfill();
        return kj::READY_NOW;
    }
};

std::unique_ptr<capnp::EzRpcServer> server;
std::unique_ptr<capnp::EzRpcClient> client;
std::unique_ptr<Sums::Client> stub;
std::deque<std::pair<uint64_t, capnp::RemotePromise<Sums::AddResults>>> begun;

std::string address()
{
    return std::string("unix:") + bench_socket();
}

int say(const kj::Exception &e)
{
    return bench_say("Cap'n Proto: %s", e.getDescription().cStr());
}

} // namespace

int bench_capnp_attach(int side)
try {
    if (side == 1) {
        server = std::make_unique<capnp::EzRpcServer>(kj::heap<sums>(), address());
        server->getPort().wait(server->getWaitScope());
        return 0;
    }
    if (bench_await_socket())
        return -1;
    client = std::make_unique<capnp::EzRpcClient>(address());
    stub = std::make_unique<Sums::Client>(client->getMain<Sums>());
    return 0;
} catch (const kj::Exception &e) {
    return say(e);
}

int bench_capnp_start(uint64_t number)
try {
    auto request = stub->addRequest();
    request.setA(number);
    request.setB(1);
    begun.emplace_back(number, request.send());
    return 0;
} catch (const kj::Exception &e) {
    return say(e);
}

int bench_capnp_harvest(void)
try {
    auto [number, reply] = std::move(begun.front());
    begun.pop_front();
    return bench_called(number, reply.wait(client->getWaitScope()).getSum());
} catch (const kj::Exception &e) {
    return say(e);
}

int bench_capnp_serve(void)
try {
    auto end = kj::newPromiseAndFulfiller<void>();
    stopping = kj::mv(end.fulfiller);
    end.promise.wait(server->getWaitScope());
    kj::evalLast([] {}).wait(server->getWaitScope()); /* the answer has gone by then */
    return 0;
} catch (const kj::Exception &e) {
    return say(e);
}

int bench_capnp_finish(void)
try {
    stub->stopRequest().send().wait(client->getWaitScope());
    return 0;
} catch (const kj::Exception &e) {
    return say(e);
}

void bench_capnp_detach(int)
{
    begun.clear();
    stub.reset();
    client.reset();
    server.reset();
}
