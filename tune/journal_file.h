/*
 * journal_file.h - the journal in memory and on the disk. What is read is checked to the last
 * field: a journal that was cut or tampered with is refused as a whole.
 */
#ifndef JOURNAL_FILE_H
#define JOURNAL_FILE_H

#include "journal.h"
#include "keep_file.h"

#define JOURNAL_FOLDER "/var/lib/tidewait"

/* A setting that was changed, or is about to be. */
struct journal_item {
    const struct setting *setting;
    char *former;  /* exactly as the kernel wrote it before the first change */
    char *applied; /* as it was asked for */
    char *earlier; /* what the apply before had set: still there if the last one was cut short; or
                    * NULL */
};

/* Where the values are in force: a kernel from its start on, and a network namespace of it. */
struct journal_era {
    char boot_id[40];
    uint64_t inode, cookie; /* inodes are given out again, cookies (Linux 5.14) never; 0: unknown */
};

struct journal {
    struct journal_era era;
    struct journal_item *items; /* in the order in which they are changed */
    size_t count;
    bool keeps; /* the kept file is part of it */
    struct keep_file former, applied, earlier;
};

/* The name of its file: -EINVAL when the network namespace cannot be named so. */
int journal_file_name(const struct journal_place *place, char out[NAME_MAX + 1],
                      struct tw_error *error);

/* The present one, of the calling thread. */
void journal_era_now(struct journal_era *out);
bool journal_era_same(const struct journal_era *a, const struct journal_era *b);

/* Whether a value can stand in a journal: one line of plain ASCII. */
bool journal_value_ok(const char *value);

/* Of the bytes of a file. -EBADMSG: damaged. */
int journal_parse(const struct keep_file *file, const struct journal_place *place, const char *path,
                  struct journal *out, struct tw_error *error);

/* The bytes to write; readable by all unless the kept file was not. -ENOMEM. */
int journal_format(const struct journal *journal, const struct journal_place *place,
                   struct keep_file *out);

/* Copies; each may be NULL. */
int journal_add(struct journal *journal, const struct setting *setting, const char *former,
                const char *applied, const char *earlier);
void journal_fini(struct journal *journal);

#endif
