/* SPDX-License-Identifier: MIT */
/* posix_shm.c - `posix-shm:`: what shm_open(3) opens, its bytes and nothing else. */
#include "core/names.h"
#include "region/region.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

static const char directory[] = "/dev/shm"; /* glibc's and musl's */

struct file {
    struct naru_region_place place;
    char path[sizeof directory + NAME_MAX + 2];
};

static const struct naru_region_ops ops = {
    .size = sizeof ops,
    .length = naru__region_file_length,
    .share = naru__region_file_share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static const struct naru_region_ops growing_ops = {
    .size = sizeof growing_ops,
    .length = naru__region_file_length,
    .grow = naru__region_file_grow,
    .share = naru__region_file_share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static int file_of(const struct naru_url *url, struct file *ret_file)
{
    const char *name;
    int r = naru__posix_name(url, "region", &name);
    if (r < 0)
        return r;
    snprintf(ret_file->path, sizeof ret_file->path, "%s%s", directory, name);
    ret_file->place = (struct naru_region_place){
        .name = url->text,
        .path = ret_file->path,
        .directory = directory,
        .flags = O_NOFOLLOW,
        .fixed = &ops,
        .growing = &growing_ops,
    };
    return 0;
}

static int open_region(const struct naru_url *url, int access, const struct naru_region_options *o,
                       naru_region **ret_r)
{
    struct file f;
    int r = file_of(url, &f);
    return r < 0 ? r : naru__region_place_open(&f.place, access, o, ret_r);
}

static int create_region(const struct naru_url *url, uint64_t size,
                         const struct naru_region_options *o, naru_region **ret_r)
{
    struct file f;
    int r = file_of(url, &f);
    return r < 0 ? r : naru__region_place_create(&f.place, size, o, ret_r);
}

static int remove_region(const struct naru_url *url)
{
    struct file f;
    int r = file_of(url, &f);
    return r < 0 ? r : naru__region_place_remove(&f.place);
}

const struct naru_region_kind naru__posix_shm_region = {
    .size = sizeof naru__posix_shm_region,
    .scheme = "posix-shm",
    .create = create_region,
    .open = open_region,
    .remove = remove_region,
};
