/*
 * spool.h - what a host wrote, kept until it is wanted, in little memory: blocks that are full go
 * to one temporary file without a name, which all spools of a run share.
 *
 * One thread at a time.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fingerprint.h"

#define SPOOL_BLOCK (16 << 10)

/* The file, and how much memory all spools have. */
struct spill {
    int fd;           /* -1: not made yet */
    uint64_t key[2];  /* of the fingerprints */
    uint32_t blocks;  /* how many the file has */
    uint32_t *unused; /* those of them that nobody has */
    uint32_t unused_count, unused_room;
    size_t memory;
    size_t memory_max; /* spools that have ended go to the file beyond this */
};

struct spool {
    struct spill *spill;
    char *tail; /* what is not in the file */
    size_t tail_len, tail_room;
    uint32_t *blocks;
    uint32_t block_count, block_room;
    uint64_t limit; /* no more bytes are kept */
    uint64_t kept;
    struct fingerprint fingerprint; /* of all bytes; its total counts also those not kept */
    unsigned char character[4];     /* the beginning of one in UTF-8 */
    size_t character_len;
    bool binary; /* it was no UTF-8 */
    char last;   /* the last byte */
    int failed;  /* errno of the first that could not be kept */
};

void spill_init(struct spill *spill, size_t memory_max);
void spill_fini(struct spill *spill);

/* A file without a name for reading and writing, in the folder for such. Returns it or -errno. */
int spill_file(void);
const char *spill_folder(void);

void spool_init(struct spool *spool, struct spill *spill, uint64_t limit);
void spool_add(struct spool *spool, const char *data, size_t len);

/* No more is to come. */
void spool_end(struct spool *spool);

/* Copies up to `room` kept bytes from an offset. Returns how many (0 at the end) or -errno. */
long spool_read(const struct spool *spool, uint64_t offset, char *out, size_t room);

static inline uint64_t spool_total(const struct spool *spool)
{
    return spool->fingerprint.total;
}

/* Gives back memory and blocks. A spool that is zeroed has none. */
void spool_fini(struct spool *spool);

#endif
