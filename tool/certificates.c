/* SPDX-License-Identifier: MIT */
/* certificates.c - --ca, --cert, --key, --revoked and --server-name. */
#include "tool/certificates.h"

#include <string.h>

const struct naru_tls_options *certificates(const struct invocation *in, bool listens)
{
    static struct naru_tls_options tls;
    tls = (struct naru_tls_options){
        .size = sizeof tls,
        .certificate = option_text(in, "cert", NULL),
        .key = option_text(in, "key", NULL),
        .authority = option_text(in, "ca", NULL),
        .revoked = option_text(in, "revoked", NULL),
        .server_name = option_text(in, "server-name", NULL),
    };
    if (listens && tls.authority)
        tls.flags = NARU_TLS_CLIENT_CERTIFICATE;
    bool given = tls.certificate || tls.key || tls.authority || tls.revoked || tls.server_name;
    return given ? &tls : NULL;
}

unsigned connecting(const char *url)
{
    return strncmp(url, "tls:", 4) == 0 ? NARU_CONNECTING : 0;
}
