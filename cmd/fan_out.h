/*
 * fan_out.h - what becomes of the output of the hosts: printed at once, or kept and put together.
 */
#ifndef FAN_OUT_H
#define FAN_OUT_H

#include <stdatomic.h>

#include "engine.h"
#include "fan_config.h"
#include "lines.h"
#include "spool.h"
#include "table.h"

enum fan_mode { MODE_LINES, MODE_FILES, MODE_GATHER, MODE_DIFF, MODE_TABLE, MODE_JSON, MODE_JSONL };

/* What is kept of a host. */
struct fan_kept {
    struct lines lines[STREAMS];
    struct spool spools[STREAMS];
    int files[STREAMS]; /* of --outdir; -1: none */
};

/* Hosts that have something in common: all they wrote, or one row of a table. */
struct fan_group {
    uint64_t key[2];
    struct fan_kept *kept;    /* of the first; not in a table */
    const struct job *sample; /* the first */
    char **values;            /* of a row */
    const char **labels;
    size_t count, room;
};

struct fan_out {
    const struct fan_config *config;
    enum fan_mode mode;
    bool safe_out, safe_err; /* terminals */
    bool written;            /* since the last flush */
    bool bare;               /* progress has to be wiped away first */
    struct spill spill;
    struct table groups; /* of struct fan_group */
    char *keys;          /* of the table, cut into key_count texts */
    char **key_list;
    size_t key_count;
    int folder; /* of --outdir; -1: none */
    int failed; /* errno of what could not be written */
    int unkept; /* the same of what could not be kept for the end */
    bool no_memory;
    atomic_int *stop; /* raised when nothing can be printed any more */
};

int fan_out_init(struct fan_out *out, const struct fan_config *config, atomic_int *stop,
                 struct tw_error *error);
void fan_out_fini(struct fan_out *out);

/* The calls of a sink. */
void fan_out_begin(struct fan_out *out, struct job *job);
void fan_out_data(struct fan_out *out, struct job *job, enum fan_stream stream, const char *data,
                  size_t len);
void fan_out_done(struct fan_out *out, struct job *job);
void fan_out_flush(struct fan_out *out);

/* What is printed at the end. */
void fan_out_end(struct fan_out *out, const struct job *jobs, size_t count, double seconds);

/* fan_group.c: groups. */
void fan_group_add(struct fan_out *out, struct job *job);
void fan_group_print(struct fan_out *out);
void fan_group_fini(struct fan_group *group);
struct fan_group *fan_group_find(struct fan_out *out, const uint64_t key[2]);
void fan_group_name(struct fan_out *out, struct fan_group *group, const char *label);
/* The largest first; indices into out->groups, from malloc. NULL without memory. */
const struct fan_group **fan_group_sort(const struct fan_out *out);

/* fan_table.c: the table of --fold. */
int fan_table_init(struct fan_out *out, const char *keys, struct tw_error *error);
void fan_table_add(struct fan_out *out, struct job *job);
void fan_table_print(const struct fan_out *out);

/* fan_diff.c: what `other` wrote otherwise than `base`, as diff(1) tells it. */
void fan_diff_print(struct fan_out *out, const struct fan_group *base, const char *base_hosts,
                    const struct fan_group *other, const char *hosts);

/* Frees what is kept of a host. */
void fan_kept_free(struct fan_kept *kept);

#endif
