/* SPDX-License-Identifier: MIT */
/* curves.h - what the two halves of the program curves share: rows of its output, time, processes.
 */
#ifndef NARU_BENCH_CURVES_H
#define NARU_BENCH_CURVES_H

#include <stdbool.h>
#include <stdint.h>

int64_t curves_now(void);
void curves_must(int r);                          /* a call of naru's, or the program ends */
int curves_compare(const void *a, const void *b); /* of doubles */
/* Where there are two processors, this process keeps to the first, or to the others. */
void curves_keep_to(bool first);
/* One point; format: the rest of its JSON object. */
void curves_row(const char *curve, uint64_t x, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* curves-call.c. A round trip that carries so many bytes there and back; clients that call at once;
 * a server's memory a connection, also of gRPC C++ if its server is given (peers/grpc-server.cpp),
 * and of TLS if a directory with cert.pem and key.pem is. */
void curves_of_payload(double seconds);
void curves_of_clients(double seconds, int most);
void curves_serve(const char *url, const char *certificates);
void curves_of_connections(int n, const char *grpc_server, const char *certificates);

#endif
