#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fan_out.h"
#include "fan_report.h"

struct fan_group *fan_group_find(struct fan_out *out, const uint64_t key[2])
{
    struct fan_group *group = table_find(&out->groups, key);

    if (!group)
        out->no_memory = true;
    return group;
}

void fan_group_name(struct fan_out *out, struct fan_group *group, const char *label)
{
    if (group->count == group->room) {
        size_t room = group->room ? group->room * 2 : 4;
        const char **labels = realloc(group->labels, room * sizeof(*labels));

        if (!labels) {
            out->no_memory = true;
            return;
        }
        group->labels = labels;
        group->room = room;
    }
    group->labels[group->count++] = label;
}

void fan_group_fini(struct fan_group *group)
{
    fan_kept_free(group->kept);
    for (size_t i = 0; group->values && group->values[i]; i++)
        free(group->values[i]);
    free(group->values);
    free(group->labels);
}

/* Two hosts are alike when both their streams and the way they ended are. */
static void key_of(const struct fan_out *out, const struct job *job, uint64_t key[2])
{
    const struct fan_kept *kept = job->kept;
    uint64_t parts[2 * STREAMS + 3] = {(uint64_t)job->cause, (uint64_t)job->exit,
                                       (uint64_t)job->signal};
    struct fingerprint all;

    for (int i = 0; i < STREAMS; i++)
        fingerprint_end(&kept->spools[i].fingerprint, &parts[3 + 2 * i]);
    fingerprint_begin(&all, out->spill.key);
    fingerprint_add(&all, parts, sizeof(parts));
    fingerprint_end(&all, key);
}

void fan_group_add(struct fan_out *out, struct job *job)
{
    struct fan_group *group;
    uint64_t key[2];

    key_of(out, job, key);
    group = fan_group_find(out, key);
    if (group && !group->sample) {
        group->sample = job;
        group->kept = job->kept;
    } else {
        fan_kept_free(job->kept);
    }
    job->kept = NULL;
    if (group)
        fan_group_name(out, group, job->host->label);
}

static int compare(const void *left, const void *right)
{
    const struct fan_group *a = *(const struct fan_group *const *)left;
    const struct fan_group *b = *(const struct fan_group *const *)right;

    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return a->sample < b->sample ? -1 : a->sample > b->sample;
}

const struct fan_group **fan_group_sort(const struct fan_out *out)
{
    const struct fan_group *groups = out->groups.items;
    const struct fan_group **sorted = malloc((out->groups.count + 1) * sizeof(*sorted));

    for (size_t i = 0; sorted && i < out->groups.count; i++)
        sorted[i] = &groups[i];
    if (sorted)
        qsort(sorted, out->groups.count, sizeof(*sorted), compare);
    return sorted;
}

static void print_body(const struct fan_out *out, const struct fan_group *group)
{
    if (group->sample->detail && group->count == 1)
        printf("%s\n", group->sample->detail);
    report_fan_spool(NULL, &group->kept->spools[STREAM_OUT], out->safe_out, stdout);
    report_fan_spool("stderr", &group->kept->spools[STREAM_ERR], out->safe_out, stdout);
}

/* Whether the command was run there: else there is nothing to compare. */
static bool has_run(const struct job *job)
{
    return job->cause <= CAUSE_SIGNAL;
}

static void print_group(struct fan_out *out, const struct fan_group *group,
                        const struct fan_group *base, const char *base_hosts)
{
    char *hosts = hosts_fold(group->labels, group->count);

    if (!hosts) {
        out->no_memory = true;
        return;
    }
    report_fan_head(hosts, group->count, group->sample, stdout);
    if (base && has_run(group->sample))
        fan_diff_print(out, base, base_hosts, group, hosts);
    else
        print_body(out, group);
    free(hosts);
}

void fan_group_print(struct fan_out *out)
{
    const struct fan_group **sorted = fan_group_sort(out);
    const struct fan_group *base = NULL;
    char *base_hosts = NULL;

    if (!sorted) {
        out->no_memory = true;
        return;
    }
    for (size_t i = 0; i < out->groups.count; i++) {
        print_group(out, sorted[i], base, base_hosts);
        /* What most hosts wrote is what the others are compared with. */
        if (!base && out->mode == MODE_DIFF && has_run(sorted[i]->sample)) {
            base_hosts = hosts_fold(sorted[i]->labels, sorted[i]->count);
            base = base_hosts ? sorted[i] : NULL;
        }
    }
    free(base_hosts);
    free(sorted);
}
