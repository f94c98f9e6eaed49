#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""shelf_server.py ADDRESS - the service as it was, on grpcio; says its port."""
import sys
from concurrent import futures

import grpc
import shelf_pb2
import shelf_pb2_grpc


class Shelf(shelf_pb2_grpc.ShelfServicer):
    def __init__(self):
        self.books = {}

    def Get(self, request, context):
        book = self.books.get(request.isbn)
        if not book:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no book has the number {request.isbn}")
        return book

    def List(self, request, context):
        for isbn in sorted(self.books):
            if self.books[isbn].year >= request.since:
                yield self.books[isbn]

    def Import(self, requests, context):
        if ("token", "open sesame") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        books = 0
        for book in requests:
            self.books[book.isbn] = book
            books += 1
        context.set_trailing_metadata([("shelf-size", str(len(self.books)))])
        return shelf_pb2.ImportReply(books=books)

    def Ask(self, requests, context):
        for request in requests:
            yield shelf_pb2.Answer(isbn=request.isbn, there=request.isbn in self.books)


server = grpc.server(futures.ThreadPoolExecutor(4))
shelf_pb2_grpc.add_ShelfServicer_to_server(Shelf(), server)
print(server.add_insecure_port(sys.argv[1]), flush=True)
server.start()
sys.stdin.read()
server.stop(None)
