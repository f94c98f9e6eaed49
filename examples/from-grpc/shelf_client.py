#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""shelf_client.py ADDRESS - a client on grpcio. It is the same for both servers."""
import sys

import grpc
import shelf_pb2
import shelf_pb2_grpc

BOOKS = [
    ("0131103628", "The C Programming Language", 1988, ["Kernighan", "Ritchie"]),
    ("0201633612", "Design Patterns", 1994, ["Gamma", "Helm", "Johnson", "Vlissides"]),
    ("0321503619", "Unix 내부 구조", 2008, []),
]

channel = grpc.insecure_channel(sys.argv[1])
shelf = shelf_pb2_grpc.ShelfStub(channel)


def books():
    for isbn, title, year, authors in BOOKS:
        yield shelf_pb2.Book(isbn=isbn, title=title, year=year, authors=authors)


def refused(call):
    try:
        call()
        print("it was not refused")
    except grpc.RpcError as error:
        print(error.code().name, error.details())


refused(lambda: shelf.Import(books(), timeout=20))
reply, call = shelf.Import.with_call(books(), metadata=[("token", "open sesame")], timeout=20)
print("imported", reply.books, "shelf-size", dict(call.trailing_metadata())["shelf-size"])
print(shelf.Get(shelf_pb2.GetRequest(isbn="0131103628"), timeout=20).title)
refused(lambda: shelf.Get(shelf_pb2.GetRequest(isbn="1"), timeout=20))
for book in shelf.List(shelf_pb2.ListRequest(since=1990), timeout=20):
    print(book.isbn, book.title, book.year, ", ".join(book.authors))
questions = (shelf_pb2.GetRequest(isbn=isbn) for isbn in ("0201633612", "2", "0321503619"))
for answer in shelf.Ask(questions, timeout=20):
    print(answer.isbn, "is there" if answer.there else "is not there")
channel.close()
