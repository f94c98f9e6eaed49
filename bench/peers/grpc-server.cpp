/* SPDX-License-Identifier: MIT */
/* grpc-server.cpp - a server of gRPC C++ whose memory bench/curves-call.c looks at: it echoes bytes
 * by the synchronous interface until it is killed.
 *
 *   grpc-server ADDRESS [CERTIFICATE KEY]
 *
 * It prints the port that it has, 1 on a unix socket, when it listens. */
#include <cstdio>
#include <fstream>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/method_handler.h>
#include <sstream>
#include <string>

namespace
{

using bytes = grpc::ByteBuffer;

struct echoes final : grpc::Service {
    echoes()
    {
        using namespace grpc::internal;
        AddMethod(new RpcServiceMethod(
            "/bench.Echoes/Echo", RpcMethod::NORMAL_RPC,
            new RpcMethodHandler<echoes, bytes, bytes, bytes, bytes>(
                [](echoes *, grpc::ServerContext *, const bytes *in, bytes *out) {
                    *out = *in;
                    return grpc::Status::OK;
                },
                this)));
    }
};

std::string contents(const char *path)
{
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

std::shared_ptr<grpc::ServerCredentials> credentials(int argc, char **argv)
{
    if (argc < 4)
        return grpc::InsecureServerCredentials();
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({contents(argv[3]), contents(argv[2])});
    return grpc::SslServerCredentials(options);
}

} // namespace

int main(int argc, char **argv)
{
    echoes service;
    grpc::ServerBuilder builder;
    int port = 0;
    if (argc < 2)
        return 2;
    builder.AddListeningPort(argv[1], credentials(argc, argv), &port);
    builder.RegisterService(&service);
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server)
        return 1;
    printf("%d\n", port);
    fflush(stdout);
    server->Wait();
}
