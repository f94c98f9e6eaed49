/* SPDX-License-Identifier: MIT */
/* naru/typed.h - typed structs: message type 2 *is* a struct job.
 *
 *   struct job { uint32_t id; char name[24]; };
 *   NARU_STRUCT(job, 2, struct job)
 *
 *   job_send(channel, &(struct job){7, "paint"}, NARU_FOREVER);
 *   struct job j;
 *   job_recv(channel, &j, NULL, NARU_FOREVER);       selects type 2
 *
 * Both sides must mean the same struct: its size and its signature (made from the type's name, size
 * and alignment) travel with the message where the medium has room for them, and a difference is
 * -EPROTO with both in the sentence; such a message stays in the channel. A struct for other
 * processes has fixed-width fields and no pointers. Where only the bytes travel (the kernel's own
 * queues) the size is checked. */
#ifndef NARU_TYPED_H
#define NARU_TYPED_H

#include <naru/channel.h>

#ifdef __cplusplus
extern "C" {
#define NARU_ALIGNOF_(type) alignof(type)
#else
#define NARU_ALIGNOF_(type) _Alignof(type)
#endif

/* naru_signature - the signature of a struct: FNV-1a over its name, size and alignment
 *
 * The constants are those of the 32-bit FNV-1a hash (Fowler, Noll, Vo; RFC 9923).
 *
 * Returns: the signature, never 0.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API uint32_t naru_signature(const char *name, size_t size, size_t alignment);

/* naru_channel_send_struct - sends a message with a signature
 *
 * What NARU_STRUCT's name_send calls. Result, errors and classes as naru_channel_send.
 *
 * Returns: 0.
 * Errors: as naru_channel_send; -EINVAL signature is 0.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_send_struct(naru_channel *channel, uint32_t type, uint32_t signature,
                                      const void *data, size_t size, int64_t timeout);

/* naru_channel_recv_struct - receives a message of this type, size and signature
 *
 * What NARU_STRUCT's name_recv calls. A message of the type that came without a signature is
 * checked for its size alone.
 *
 * ret_data: size bytes. ret_info: may be NULL.
 * Returns: 0.
 * Errors: -EPROTO another size or signature, both in the sentence, the message stays; as
 * naru_channel_recv.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_recv_struct(naru_channel *channel, uint32_t type, uint32_t signature,
                                      void *ret_data, size_t size, struct naru_info *ret_info,
                                      int64_t timeout);

/* A program need not use all that NARU_STRUCT yields. */
#if defined(__GNUC__)
#define NARU_MAYBE_UNUSED_ __attribute__((unused))
#else
#define NARU_MAYBE_UNUSED_
#endif

/* NARU_STRUCT - declares message type number to be the struct ctype, and yields
 *
 *   int name_send(naru_channel *, const ctype *, int64_t timeout);
 *   int name_recv(naru_channel *, ctype *ret, struct naru_info *ret_info, int64_t timeout);
 */
#define NARU_STRUCT(name, number, ctype)                                                           \
    NARU_MAYBE_UNUSED_ static inline uint32_t name##_signature(void)                               \
    {                                                                                              \
        return naru_signature(#ctype, sizeof(ctype), NARU_ALIGNOF_(ctype));                        \
    }                                                                                              \
    NARU_MAYBE_UNUSED_ static inline int name##_send(naru_channel *channel, const ctype *value,    \
        int64_t timeout)                                                                           \
    {                                                                                              \
        return naru_channel_send_struct(channel, number, name##_signature(), value, sizeof *value, \
                                        timeout);                                                  \
    }                                                                                              \
    NARU_MAYBE_UNUSED_ static inline int name##_recv(naru_channel *channel, ctype *ret_value,      \
                                  struct naru_info *ret_info, int64_t timeout)                     \
    {                                                                                              \
        return naru_channel_recv_struct(channel, number, name##_signature(), ret_value,            \
                                        sizeof *ret_value, ret_info, timeout);                     \
    }

#ifdef __cplusplus
}
#endif
#endif
