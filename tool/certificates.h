/* SPDX-License-Identifier: MIT */
/* certificates.h - the options of every subcommand that takes a tls: or grpcs: URL. */
#ifndef NARU_TOOL_CERTIFICATES_H
#define NARU_TOOL_CERTIFICATES_H

#include "tool/command.h"

#include <naru/tls.h>

/* What was given; NULL: nothing. listens: with --ca whoever connects must show a certificate. */
const struct naru_tls_options *certificates(const struct invocation *, bool listens);
/* NARU_CONNECTING where opening would wait for a handshake, and must not wait. */
unsigned connecting(const char *url);

#define CERTIFICATE_OPTIONS                                                                        \
    CERTIFICATE_CA, CERTIFICATE_CERT, CERTIFICATE_KEY, CERTIFICATE_REVOKED, CERTIFICATE_NAME
#define CERTIFICATE_CA                                                                             \
    {                                                                                              \
        .name = "ca", .argument = "FILE", .kind = OPTION_TEXT,                                     \
        .help =                                                                                    \
            "of tls and grpcs: who issues the other side's certificate (PEM); a listener then "    \
            "demands one, a client else asks the system's authorities"                             \
    }
#define CERTIFICATE_CERT                                                                           \
    {                                                                                              \
        .name = "cert", .argument = "FILE", .kind = OPTION_TEXT,                                   \
        .help = "the certificate of this side; a listener needs one"                               \
    }
#define CERTIFICATE_KEY                                                                            \
    {                                                                                              \
        .name = "key", .argument = "FILE", .kind = OPTION_TEXT,                                    \
        .help = "its private key (default: in the file of --cert)"                                 \
    }
#define CERTIFICATE_REVOKED                                                                        \
    {                                                                                              \
        .name = "revoked", .argument = "FILE", .kind = OPTION_TEXT,                                \
        .help = "the revocation list of who issued the other side's certificate (PEM)"             \
    }
#define CERTIFICATE_NAME                                                                           \
    {                                                                                              \
        .name = "server-name", .argument = "NAME", .kind = OPTION_TEXT,                            \
        .help = "the name that the server's certificate must have (default: the URL's host)"       \
    }

#endif
