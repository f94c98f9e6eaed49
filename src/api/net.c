/* SPDX-License-Identifier: MIT */
/* net.c - finds libnaru-net: in the program itself, beside this library, else wherever libraries
 * are looked for. Once loaded it stays: handles have its functions. */
#include "api/net.h"

#include "base/error.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Of a program that has it linked in; NULL: it has not. */
extern const struct naru_net naru__net_module __attribute__((weak));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct naru_net *found; /* guarded by it */

bool naru__net_has(const char *scheme)
{
    static const char *const schemes[] = {"tls", "grpc", "grpcs", "grpc+unix"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strcmp(schemes[i], scheme) == 0)
            return true;
    return false;
}

#ifndef NARU_NO_NET

/* What is installed beside this library is the one that belongs to it. */
static void *load(void)
{
    char path[4096];
    Dl_info here;
    const char *slash = NULL;
    if (dladdr(naru__core(), &here) != 0 && here.dli_fname)
        slash = strrchr(here.dli_fname, '/');
    if (slash && snprintf(path, sizeof path, "%.*s/%s", (int)(slash - here.dli_fname),
                          here.dli_fname, NARU__NET_LIBRARY) < (int)sizeof path) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    return dlopen(NARU__NET_LIBRARY, RTLD_NOW | RTLD_LOCAL);
}

static const struct naru_net *look(const char *url)
{
    void *library = load();
    if (!library) {
        naru__fail(-EOPNOTSUPP, "%s needs %s, which cannot be loaded: %s", url, NARU__NET_LIBRARY,
                   dlerror());
        return NULL;
    }
    const struct naru_net *net = dlsym(library, NARU__NET_ENTRY);
    if (!net || net->size != sizeof *net || strcmp(net->version, naru_version()) != 0) {
        naru__fail(-EOPNOTSUPP, "%s: the %s that is here belongs to version %s and this is %s", url,
                   NARU__NET_LIBRARY, net ? net->version : "?", naru_version());
    } else if (net->core() != naru__core()) {
        naru__fail(-EOPNOTSUPP,
                   "%s: this program has libnaru.a in it, and %s came with a libnaru.so of its "
                   "own: link the program with libnaru-net.a (whole), too",
                   url, NARU__NET_LIBRARY);
    } else {
        return net;
    }
    dlclose(library);
    return NULL;
}

#else

static const struct naru_net *look(const char *url)
{
    naru__fail(-EOPNOTSUPP, "%s is not in this build: it was made without libnaru-net", url);
    return NULL;
}

#endif

const struct naru_net *naru__net(const char *url)
{
    pthread_mutex_lock(&lock);
    if (!found)
        found = &naru__net_module ? &naru__net_module : look(url);
    const struct naru_net *net = found;
    pthread_mutex_unlock(&lock);
    return net;
}
