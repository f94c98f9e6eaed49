/* SPDX-License-Identifier: MIT */
/* naru/region.h - regions: memory that several processes have before them at once.
 *
 *   struct naru_region_options o = {sizeof o, .signature = naru_signature("struct map", 64, 8)};
 *   naru_region *r;
 *   naru_region_create("shm:map", sizeof(struct map), &o, &r);
 *   struct map *map = naru_region_data(r);    // another process: naru_region_open("shm:map", ...)
 *
 * A region is pages and nothing else: who reads what another writes at the same moment has to agree
 * with it, by atomics or by a lock. Its memory is really there from creation on, so a full /dev/shm
 * is -ENOSPC then and no signal later. It is zeroes at first.
 *
 *   URL                            what it is, and how long it lives
 *   NULL or "shm:"                 memory without a name (memfd), sealed: nobody can shrink it.
 *                                  Handed on by naru_region_share, naru_spawn or fork; gone with
 *                                  its last holder
 *   shm:name, shm:/dir             an object with a name, until naru_remove
 *   posix-shm:/name                what shm_open opens, bytes alone, until naru_remove (shm_unlink)
 *   sysv-shm:/path#id, 0xKEY       what shmget finds, bytes alone, until naru_remove (IPC_RMID)
 *   map:/file                      a file on disk, its bytes alone, until naru_remove (unlink):
 *                                  survives a restart, and may be larger than memory
 *
 * The raw pointer is as fast as memory, and as safe: what others do to it is seen at once, and a
 * stranger who may write a posix-shm or map file may also truncate it, which makes touching it
 * SIGBUS. naru_region_read and _write copy instead, and answer such things with an error, and
 * naru_guard turns the signal into one. What points into a region from within it is an offset
 * (naru_off), as each process has it at another address. */
#ifndef NARU_REGION_H
#define NARU_REGION_H

#include <naru/common.h>

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_region naru_region;

/* .flags besides NARU_EXCLUSIVE and NARU_EXISTING */
#define NARU_HUGE 256u      /* of huge pages, as far as whole ones fit, or an error that says why
                             * (transparent ones, gathered at once: MADV_COLLAPSE, Linux 6.1) */
#define NARU_LOCKED 512u    /* never swapped out, as long as this handle is open */
#define NARU_PREFAULT 1024u /* mapped page by page now, so that no first touch takes long */
#define NARU_PRIVATE                                                                               \
    2048u /* map:, opening: copy on write. What this handle writes is its own, by                  \
           * pages, and goes with it; of pages that it has not written it sees                     \
           * what others write. The file need not be writable */

struct naru_region_options {
    size_t size;        /* sizeof(struct naru_region_options) */
    size_t bytes;       /* opening: the size that has to be there; of one that may grow (.reserve):
                         * at least. 0: any */
    size_t reserve;     /* the size up to which it may grow. Creating, 0: never. Opening, 0: as its
                         * creator said; on posix-shm, which cannot say: never. On map: it is each
                         * handle's own: how far it sees what others add */
    unsigned flags;
    uint32_t signature; /* of what lies in it, as naru_signature makes one; 0: none, or any. Not on
                         * posix-shm and sysv-shm, which have no place for it; of a map: file it is
                         * an attribute (user.naru), which a copy may lose */
    mode_t mode;        /* of what this call creates, 0: 0600 */
};

/* naru_region_create - makes a region, or opens the one that is there and agrees
 *
 * The creator reads and writes it. bytes: its size; any, not only whole pages.
 *
 * ret_region: owned by the caller, naru_region_close.
 * Returns: 0.
 * Errors: -ENOSPC, -EDQUOT no room for so many bytes; -EPROTO the one that is there has another
 * size or signature (both are named); -EEXIST it is there with another mode, .reserve or noun, or
 * NARU_EXCLUSIVE was given; -ENOENT NARU_EXISTING; -EACCES owner and mode; -EPERM, -ENOMEM memory
 * cannot be locked, mapped or huge (the limit is named); -EMSGSIZE beyond a limit of files or
 * address space; -EFBIG beyond one of the file system; -EISDIR, -EINVAL a directory, a device or
 * the like stands there; -EOPNOTSUPP the kind is no region, or cannot keep what an option asks for,
 * or the file system, which is named, has no shared mappings or no locks; -EBUSY somebody keeps the
 * file to itself (a lease); the common ones.
 * Thread: any. Fork: works. Blocks: while pages are made. */
NARU_API int naru_region_create(const char *url, size_t bytes,
                                const struct naru_region_options *options,
                                naru_region **ret_region);

/* naru_region_open - opens a region that is there
 *
 * access: NARU_READ, or NARU_READ | NARU_WRITE. What is opened for reading cannot be written by
 * this handle; whether this user could write by other means its mode says.
 *
 * ret_region: owned by the caller, naru_region_close.
 * Returns: 0.
 * Errors: -ENOENT not there; else as naru_region_create.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_region_open(const char *url, int access,
                              const struct naru_region_options *options, naru_region **ret_region);

/* naru_region_from_fd - opens a region without a name that somebody has handed over
 *
 * fd: as naru_region_share made it, received over a unix socket (naru_stream_recv_fds) or else. It
 * is copied; close yours. Memory of other programs will do, if it is sealed against shrinking
 * (F_SEAL_SHRINK); it has no signature then.
 *
 * ret_region: owned by the caller, naru_region_close.
 * Returns: 0.
 * Errors: -EINVAL no memory, but a pipe, a directory, ...; -EPERM it could be shrunk under its
 * readers, or writing is asked for and it may only be read; -EPROTO another size or signature than
 * expected (both are named); the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_region_from_fd(int fd, int access, const struct naru_region_options *options,
                                 naru_region **ret_region);

/* naru_region_inherit - opens the region that the parent gave this program under that name
 *
 * As naru_stream_inherit: the parent named it in naru_spawn. It keeps its own handle.
 *
 * ret_region: owned by the caller, naru_region_close.
 * Returns: 0.
 * Errors: -ENOENT no such end was given; -EINVAL it is no region; else as naru_region_from_fd.
 * Thread: one. Fork: works. Blocks: never. */
NARU_API int naru_region_inherit(const char *name, int access,
                                 const struct naru_region_options *options,
                                 naru_region **ret_region);

/* naru_region_data - where it lies in this process
 *
 * At the beginning of a page, and there until the handle is closed, also when it grows. A forked
 * child has the same memory at the same place; there the pointer goes on to work, and naru_adopt
 * makes the handle the child's as well. What lies behind naru_region_size is no memory.
 *
 * Returns: the address; NULL if it is no region of this process.
 * Thread: any. Fork: NULL. Blocks: never. */
NARU_API void *naru_region_data(const naru_region *region);

/* naru_region_size - how many bytes it has now
 *
 * Where it may grow the kernel is asked, so what another process has added counts at once; but
 * never more than this handle has address space for (.reserve).
 *
 * Returns: the size; 0 if it is no region of this process, or the kernel does not say.
 * Thread: any. Fork: 0. Blocks: never. */
NARU_API size_t naru_region_size(const naru_region *region);

/* naru_region_grow - makes it at least so many bytes long
 *
 * The address stays. Other handles see the new size at their next naru_region_size, read or write.
 * If it has as many already, nothing happens.
 *
 * Returns: 0.
 * Errors: -ENOSPC no room; the size is as before then; -EMSGSIZE more than .reserve; -EOPNOTSUPP it
 * was made to keep its size; -EPERM opened for reading, or somebody has sealed it; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: while pages are made. */
NARU_API int naru_region_grow(naru_region *region, size_t bytes);

/* naru_region_shrink - makes a file shorter, if nobody else has it
 *
 * bytes: from 1 to its size. Whoever else has it mapped would die at touching what is gone, so the
 * kernel is asked (a write lease): any other open descriptor or mapping of the file is in the way,
 * whatever program's it is, a forked child's copy of this handle and a lock of this process's in it
 * included. Memory is never made shorter; NARU_ADVICE_FREE gives it back.
 *
 * Returns: 0.
 * Errors: -EBUSY somebody else has it (the sentence names a process, if one may be seen);
 * -EOPNOTSUPP it lies in memory, or its file system has no leases; -EPERM opened for reading, or
 * the file is another user's; -EINVAL no such size; -EIO as naru_region_sync; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: while what was written goes to the medium. */
NARU_API int naru_region_shrink(naru_region *region, size_t bytes);

/* naru_region_share - a descriptor for another process
 *
 * For naru_stream_send_fds, or any other way. access NARU_READ: whoever has it can read alone, for
 * good: neither mapping it for writing nor opening it again by /proc succeeds (F_SEAL_FUTURE_WRITE,
 * Linux 5.1; before it the descriptor alone forbids). From then on nobody maps the region for
 * writing any more; those who have, keep it. NARU_READ | NARU_WRITE: whoever has it can do what
 * this handle can.
 *
 * ret_fd: close-on-exec, owned by the caller.
 * Returns: 0.
 * Errors: -EOPNOTSUPP a System V segment, which has no descriptor; or NARU_READ on a region with a
 * name, which whoever may open it could open for writing: its mode decides; -EPERM more than this
 * handle may, or it was shared for reading before; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_region_share(const naru_region *region, int access, int *ret_fd);

enum naru_region_advice {
    NARU_ADVICE_NORMAL,
    NARU_ADVICE_SEQUENTIAL, /* read from front to end */
    NARU_ADVICE_RANDOM,     /* here and there */
    NARU_ADVICE_NEEDED,     /* soon: fetch what was swapped out, or read it from the file */
    NARU_ADVICE_UNNEEDED,   /* not soon: may be swapped out first (Linux 5.4) */
    NARU_ADVICE_HUGE,       /* huge pages would help */
    NARU_ADVICE_FREE        /* give its memory or disk blocks back: it is zeroes for everybody from
                             * now on. Its next touch takes them again, and if there are none, is
                             * SIGBUS */
};

/* naru_region_advise - how a part of it is going to be used
 *
 * Advice is for whole pages: of all that are touched by [offset, offset + n), and with
 * NARU_ADVICE_FREE of those that lie in it wholly.
 *
 * Returns: 0.
 * Errors: -EINVAL the part lies outside, or no such advice in this kernel; -EPERM NARU_ADVICE_FREE
 * of what may only be read; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_region_advise(naru_region *region, size_t offset, size_t n, int advice);

/* How far naru_region_sync goes. What was written to a region, by pointer or call, survives the
 * death of this process at once, and without it. */
enum naru_region_sync {
    NARU_SYNC_ASYNC, /* writing is begun, not waited for: nothing more survives yet, and no error of
                      * writing is told */
    NARU_SYNC_DATA,  /* that part, and what it takes to find it in the file, is on the medium: it
                      * survives a loss of power, if the directory entry does */
    NARU_SYNC_FULL   /* the whole file is, with its size, times and attributes, and the directory
                      * entry that leads to it now: all survives a loss of power */
};

/* naru_region_sync - makes what was written survive; memory survives no restart, and says so
 *
 * If the medium did not take what was written, since it was opened and by whomever, each handle is
 * told so once, by its next NARU_SYNC_DATA or _FULL of whatever part, also if others were told
 * before. The kernel then drops what it could not write, or keeps it unwritten: write it again. A
 * handle that is opened after a failure is told if nobody was yet.
 *
 * Returns: 0.
 * Errors: -EIO, -ENOSPC, -EDQUOT the medium did not take it; -EOPNOTSUPP it lies in memory (a tmpfs
 * is memory), or was opened with NARU_PRIVATE; -EIDRM NARU_SYNC_FULL, and its name was removed;
 * -EINVAL the part lies outside, or no such `how`; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: until it is done. */
NARU_API int naru_region_sync(naru_region *region, size_t offset, size_t n, int how);

/* A place in a region, in bytes from its beginning: the same in every process, and after a restart.
 * NARU_OFF_NONE, 0, is none, as a new region is zeroes; what lies at its beginning is found by
 * naru_region_data. */
typedef uint64_t naru_off;
#define NARU_OFF_NONE ((naru_off)0)

/* The `type` at that offset of the region, or NULL. */
#define NARU_AT(region, type, off)                                                                 \
    ((type *)naru_region_at((region), (off), sizeof(type), __alignof__(type)))

/* naru_region_at - the address of n bytes at an offset, if they lie in it
 *
 * For offsets that others have written: bounds are checked against its size, and that the offset is
 * a multiple of align (0 or 1: any), without asking the kernel while what was known will do.
 *
 * Returns: the address; NULL with naru_why() if n bytes do not lie there.
 * Thread: any. Fork: NULL. Blocks: never. */
NARU_API void *naru_region_at(const naru_region *region, naru_off off, size_t n, size_t align);

/* naru_region_off - the offset of an address in it
 *
 * Returns: the offset; NARU_OFF_NONE of NULL, of its beginning, and of what does not lie in it.
 * Thread: any. Fork: NARU_OFF_NONE. Blocks: never. */
NARU_API naru_off naru_region_off(const naru_region *region, const void *address);

/* naru_region_read - copies n bytes at offset out of it
 *
 * Bounds are checked, and whatever others do to it is an error, never a signal. What another
 * process writes meanwhile may come in part.
 *
 * Returns: 0.
 * Errors: -EINVAL the part lies outside (the size is named); -EPROTO it was made shorter meanwhile;
 * -EIO its medium cannot be read; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_region_read(const naru_region *region, size_t offset, void *buf, size_t n);

/* naru_region_write - copies n bytes into it at offset
 *
 * Returns: 0.
 * Errors: -EPERM opened for reading; -ENOSPC, -EDQUOT no room for what lies in a hole of a file;
 * else as naru_region_read.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_region_write(naru_region *region, size_t offset, const void *buf, size_t n);

/* naru_guard - makes SIGBUS under a raw pointer an error of the next call
 *
 * true: installs a handler of SIGBUS for this process. Where a pointer into a region meets no file,
 * as somebody has truncated it, or one that cannot be read or given room, the instruction finds
 * zeroes of this process's own and goes on, a page at a time; the next call on that region that can
 * fail returns -EPROTO (it was made shorter) or -EIO, once, and puts the file back in its place:
 * what was written to those zeroes is lost. (With NARU_PRIVATE they stay.) Every other SIGBUS goes
 * to the handler that was there before, as if naru's were not. false: puts that one back; if
 * somebody has installed a handler since, which is to pass on what it does not know, naru's stays
 * and passes everything on. It is for the process, not counted; programs that it execs start
 * without, forked children with it.
 *
 * Returns: 0.
 * Errors: those of sigaction.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_guard(bool on);

/* naru_region_close - unmaps it and frees the handle
 *
 * A name stays. Memory without one is gone when nobody has it mapped or open.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_region *naru_region_close(naru_region *region);

#ifdef __cplusplus
}
#endif
#endif
