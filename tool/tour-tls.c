/* SPDX-License-Identifier: MIT */
/* tour-tls.c - the certificate of the tour's encrypted scenes: the server has the openssl command
 * make one that signs itself, in the tour's directory, and the client believes just that one. */
#include "tool/tour.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool make_certificate(struct part *p, char *certificate, char *key)
{
    char *argv[] = {"openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=tour",
                    "-addext",
                    "subjectAltName=IP:127.0.0.1",
                    "-keyout",
                    key,
                    "-out",
                    certificate,
                    NULL};
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC); /* it says that it works */
    const struct naru_spawn_end end = {"stderr", NULL, nowhere};
    const struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    struct naru_exit e = {-1, 0};
    naru_child *child = NULL;
    int r = naru_spawn(argv, &o, &child);
    close(nowhere);
    if (r < 0)
        return part_skipped(p, "%s (of the package openssl)", naru_why());
    r = naru_child_wait(child, TOUR_TIMEOUT, &e);
    naru_child_close(child);
    return part_naru(p, "waiting for openssl", r) &&
           (e.code == 0 || part_failed(p, "openssl ended with status %d", e.code));
}

const struct naru_tls_options *part_tls(struct part *p, bool listens)
{
    static struct naru_tls_options tls = {.size = sizeof tls};
    static char certificate[128], key[128];
    if (strncmp(p->url, "tls:", 4) != 0 && strncmp(p->url, "grpcs:", 6) != 0)
        return NULL;
    snprintf(certificate, sizeof certificate, "%.100s/certificate.pem", p->detail);
    snprintf(key, sizeof key, "%.100s/key.pem", p->detail);
    if (!listens)
        tls.authority = certificate;
    else if (make_certificate(p, certificate, key)) {
        tls.certificate = certificate;
        tls.key = key;
    }
    return &tls;
}
