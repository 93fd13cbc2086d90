#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/text.h"

#define NO_BLOCK UINT32_MAX

/* --- the file --------------------------------------------------------------------------------- */

void spill_init(struct spill *spill, size_t memory_max)
{
    *spill = (struct spill){.fd = -1, .memory_max = memory_max};
    if (getrandom(spill->key, sizeof(spill->key), GRND_NONBLOCK) != sizeof(spill->key))
        spill->key[0] = tw_clock_ns();
}

void spill_fini(struct spill *spill)
{
    if (spill->fd >= 0)
        close(spill->fd);
    free(spill->unused);
    spill->fd = -1;
    spill->unused = NULL;
}

const char *spill_folder(void)
{
    const char *folder = getenv("TMPDIR");

    return folder && *folder ? folder : "/tmp";
}

int spill_file(void)
{
    const char *from = spill_folder();
    char path[4096];
    int fd;

    fd = open(from, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd >= 0 ? fd : -errno;
    if ((size_t)snprintf(path, sizeof(path), "%s/tidewait.XXXXXX", from) >= sizeof(path))
        return -ENAMETOOLONG;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

static int open_file(struct spill *spill)
{
    if (spill->fd < 0)
        spill->fd = spill_file();
    return spill->fd < 0 ? spill->fd : 0;
}

static uint32_t take_block(struct spill *spill)
{
    return spill->unused_count        ? spill->unused[--spill->unused_count]
           : spill->blocks < NO_BLOCK ? spill->blocks++
                                      : NO_BLOCK;
}

static void give_block(struct spill *spill, uint32_t block)
{
    if (spill->unused_count == spill->unused_room) {
        uint32_t room = spill->unused_room ? spill->unused_room * 2 : 64;
        uint32_t *unused = realloc(spill->unused, room * sizeof(*unused));

        /* Then it is lost to the file, which is no more than a waste. */
        if (!unused)
            return;
        spill->unused = unused;
        spill->unused_room = room;
    }
    spill->unused[spill->unused_count++] = block;
}

/* --- one spool -------------------------------------------------------------------------------- */

void spool_init(struct spool *spool, struct spill *spill, uint64_t limit)
{
    *spool = (struct spool){.spill = spill, .limit = limit};
    fingerprint_begin(&spool->fingerprint, spill->key);
}

static int resize_tail(struct spool *spool, size_t room)
{
    char *tail = NULL;

    if (room == 0)
        free(spool->tail);
    else if (!(tail = realloc(spool->tail, room)))
        return -ENOMEM;
    spool->spill->memory += room - spool->tail_room;
    spool->tail = tail;
    spool->tail_room = room;
    return 0;
}

static int write_block(int fd, uint32_t block, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n =
            pwrite(fd, data + done, len - done, (off_t)((uint64_t)block * SPOOL_BLOCK + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -ENOSPC;
        done += (size_t)n;
    }
    return 0;
}

/* Moves the tail to the file. */
static int flush(struct spool *spool)
{
    uint32_t block;
    int rc = open_file(spool->spill);

    if (rc)
        return rc;
    if (spool->block_count == spool->block_room) {
        uint32_t room = spool->block_room ? spool->block_room * 2 : 4;
        uint32_t *blocks = realloc(spool->blocks, room * sizeof(*blocks));

        if (!blocks)
            return -ENOMEM;
        spool->blocks = blocks;
        spool->block_room = room;
    }
    block = take_block(spool->spill);
    if (block == NO_BLOCK)
        return -EFBIG;
    rc = write_block(spool->spill->fd, block, spool->tail, spool->tail_len);
    if (rc) {
        give_block(spool->spill, block);
        return rc;
    }
    spool->blocks[spool->block_count++] = block;
    spool->tail_len = 0;
    return 0;
}

static int keep(struct spool *spool, const char *data, size_t len)
{
    while (len) {
        size_t part = SPOOL_BLOCK - spool->tail_len < len ? SPOOL_BLOCK - spool->tail_len : len;
        size_t room = spool->tail_room ? spool->tail_room : 256;
        int rc = 0;

        while (room < spool->tail_len + part)
            room *= 2;
        if (room > spool->tail_room)
            rc = resize_tail(spool, room);
        if (rc)
            return rc;
        memcpy(spool->tail + spool->tail_len, data, part);
        spool->tail_len += part;
        spool->kept += part;
        data += part;
        len -= part;
        if (spool->tail_len == SPOOL_BLOCK && (rc = flush(spool))) {
            spool->kept -= SPOOL_BLOCK;
            spool->tail_len = 0;
            return rc;
        }
    }
    return 0;
}

/* Whether it is all UTF-8; a character may come in pieces. */
static void look_for_binary(struct spool *spool, const char *data, size_t len)
{
    uint32_t code;

    while (len && !spool->binary) {
        size_t size, held = spool->character_len;

        if (held == 0 && (unsigned char)*data < 0x80) {
            data++;
            len--;
            continue;
        }
        spool->character[held++] = (unsigned char)*data++;
        len--;
        size = tw_text_take((const char *)spool->character, held, &code);
        /* How long it is to be, the first byte tells. */
        spool->binary = size == 0 && (held == 4 || (spool->character[0] & 0xc0) == 0x80 ||
                                      (held == 2 && spool->character[0] < 0xe0) ||
                                      (held == 3 && spool->character[0] < 0xf0));
        spool->character_len = size ? 0 : held;
    }
}

void spool_add(struct spool *spool, const char *data, size_t len)
{
    uint64_t room = spool->limit - spool->kept;

    if (len == 0)
        return;
    fingerprint_add(&spool->fingerprint, data, len);
    look_for_binary(spool, data, len);
    spool->last = data[len - 1];
    if (spool->failed == 0)
        spool->failed = -keep(spool, data, room < len ? (size_t)room : len);
}

void spool_end(struct spool *spool)
{
    if (spool->character_len)
        spool->binary = true;
    if (spool->tail_len && spool->spill->memory > spool->spill->memory_max && flush(spool) == 0)
        resize_tail(spool, 0);
    else if (spool->tail_len < spool->tail_room)
        resize_tail(spool, spool->tail_len);
}

long spool_read(const struct spool *spool, uint64_t offset, char *out, size_t room)
{
    uint64_t block = offset / SPOOL_BLOCK, in_file = spool->kept - spool->tail_len;
    size_t at = offset % SPOOL_BLOCK, len;
    ssize_t n;

    if (offset >= spool->kept)
        return 0;
    if (offset >= in_file) {
        at = (size_t)(offset - in_file);
        len = spool->tail_len - at < room ? spool->tail_len - at : room;
        memcpy(out, spool->tail + at, len);
        return (long)len;
    }
    len = SPOOL_BLOCK - at < room ? SPOOL_BLOCK - at : room;
    if (len > in_file - offset)
        len = (size_t)(in_file - offset);
    do
        n = pread(spool->spill->fd, out, len,
                  (off_t)((uint64_t)spool->blocks[block] * SPOOL_BLOCK + at));
    while (n < 0 && errno == EINTR);
    return n > 0 ? (long)n : n < 0 ? -errno : -EIO;
}

void spool_fini(struct spool *spool)
{
    if (!spool->spill)
        return;
    for (uint32_t i = 0; i < spool->block_count; i++)
        give_block(spool->spill, spool->blocks[i]);
    resize_tail(spool, 0);
    free(spool->blocks);
    *spool = (struct spool){.spill = NULL};
}
