#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fan_out.h"
#include "fan_report.h"
#include "tidewait/text.h"

#define KEYS_MAX  16
#define VALUE_MAX 120 /* of what is shown in a cell */

int fan_table_init(struct fan_out *out, const char *keys, struct tw_error *error)
{
    char *rest;

    out->keys = strdup(keys);
    out->key_list = calloc(KEYS_MAX, sizeof(*out->key_list));
    if (!out->keys || !out->key_list)
        return tw_error_set(error, ENOMEM, "no memory");
    for (rest = out->keys; rest;) {
        char *key = strsep(&rest, ",");

        if (out->key_count == KEYS_MAX)
            return tw_error_set(error, EINVAL, "--fold has more than %d keys", KEYS_MAX);
        if (!*key || *key == '.' || strstr(key, "..") || key[strlen(key) - 1] == '.')
            return tw_error_set(error, EINVAL, "--fold '%.60s': a key is empty", keys);
        out->key_list[out->key_count++] = key;
    }
    return 0;
}

/* --- a cell ----------------------------------------------------------------------------------- */

/* The text of a cell; what is there already is not added again. */
struct cell {
    char text[4 * VALUE_MAX];
    size_t len;
    size_t parts;
};

static bool has_part(const struct cell *cell, const char *part)
{
    struct tw_view rest = {cell->text, cell->len};

    while (rest.len)
        if (tw_view_equals(tw_view_cut(&rest, ','), part))
            return true;
    return false;
}

static void add_text(struct cell *cell, const char *text, size_t len)
{
    char part[VALUE_MAX];
    size_t part_len = tw_text_safe(part, sizeof(part) - 1, text, len);

    part[part_len] = 0;
    if (has_part(cell, part) || cell->len + part_len + 2 >= sizeof(cell->text))
        return;
    cell->len += (size_t)snprintf(cell->text + cell->len, sizeof(cell->text) - cell->len, "%s%s",
                                  cell->parts ? "," : "", part);
    cell->parts++;
}

static void add_value(struct cell *cell, const json_t *value)
{
    char *text;

    if (json_is_string(value)) {
        add_text(cell, json_string_value(value), json_string_length(value));
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    if (text)
        add_text(cell, text, strlen(text));
    free(text);
}

/* Follows a path such as holders.unit; of an array all elements. The depth is that of the path and
 * of the JSON, which jansson limits. NOLINTNEXTLINE(misc-no-recursion) */
static void find_value(struct cell *cell, const json_t *value, const char *path)
{
    const char *dot = strchr(path, '.');
    size_t len = dot ? (size_t)(dot - path) : strlen(path), index;
    json_t *element;
    char key[256];

    if (json_is_array(value)) {
        json_array_foreach(value, index, element) find_value(cell, element, path);
        return;
    }
    if (len >= sizeof(key))
        return;
    memcpy(key, path, len);
    key[len] = 0;
    element = json_object_get(value, key);
    if (element && dot)
        find_value(cell, element, dot + 1);
    else if (json_is_array(element))
        json_array_foreach(element, index, value) add_value(cell, value);
    else if (element)
        add_value(cell, element);
}

/* --- a row ------------------------------------------------------------------------------------ */

static void add_row(struct fan_out *out, const struct job *job, const struct cell *cells)
{
    struct fingerprint fingerprint;
    struct fan_group *group;
    uint64_t key[2];

    fingerprint_begin(&fingerprint, out->spill.key);
    for (size_t i = 0; i < out->key_count; i++)
        fingerprint_add(&fingerprint, cells[i].text, cells[i].len + 1);
    fingerprint_end(&fingerprint, key);
    group = fan_group_find(out, key);
    if (!group)
        return;
    if (!group->sample) {
        group->sample = job;
        group->values = calloc(out->key_count + 1, sizeof(*group->values));
        for (size_t i = 0; group->values && i < out->key_count; i++)
            group->values[i] = strdup(cells[i].text);
    }
    if (group->count == 0 || group->labels[group->count - 1] != job->host->label)
        fan_group_name(out, group, job->host->label);
}

static void add_record(struct fan_out *out, const struct job *job, const json_t *record)
{
    struct cell cells[KEYS_MAX];

    for (size_t i = 0; i < out->key_count; i++) {
        cells[i].len = cells[i].parts = 0;
        cells[i].text[0] = 0;
        find_value(&cells[i], record, out->key_list[i]);
        if (cells[i].parts == 0)
            add_text(&cells[i], "-", 1);
    }
    add_row(out, job, cells);
}

/* One for a host that has no record. */
static void add_failure(struct fan_out *out, const struct job *job)
{
    struct cell cells[KEYS_MAX];
    char how[FAN_HOW_MAX];

    for (size_t i = 0; i < out->key_count; i++) {
        cells[i].parts = 0;
        cells[i].len =
            (size_t)snprintf(cells[i].text, sizeof(cells[i].text), i ? "-" : "(%s)",
                             job->cause == CAUSE_NONE ? "no JSON" : report_fan_how(job, how));
    }
    add_row(out, job, cells);
}

static char *text_of(const struct spool *spool)
{
    char *text = malloc(spool->kept + 1);
    uint64_t at = 0;
    long len;

    while (text && (len = spool_read(spool, at, text + at, spool->kept - at)) > 0)
        at += (uint64_t)len;
    return text;
}

/* One JSON text or several, one behind the other; of an array each element is a record. */
static size_t add_records(struct fan_out *out, const struct job *job, const char *text, size_t len)
{
    size_t count = 0, at = 0, index;
    json_t *root, *element;
    json_error_t error;

    for (;;) {
        while (at < len && isspace((unsigned char)text[at]))
            at++;
        root = at < len ? json_loadb(text + at, len - at, JSON_DISABLE_EOF_CHECK, &error) : NULL;
        if (!root)
            return count;
        at += (size_t)error.position;
        if (json_is_array(root)) {
            json_array_foreach(root, index, element) add_record(out, job, element);
            count += json_array_size(root);
        } else {
            add_record(out, job, root);
            count++;
        }
        json_decref(root);
    }
}

void fan_table_add(struct fan_out *out, struct job *job)
{
    const struct fan_kept *kept = job->kept;
    const struct spool *spool = &kept->spools[STREAM_OUT];
    char *text = text_of(spool);

    if (!text)
        out->no_memory = true;
    else if (add_records(out, job, text, spool->kept) == 0)
        add_failure(out, job);
    free(text);
}

/* --- the table -------------------------------------------------------------------------------- */

static size_t columns(const char *text)
{
    size_t count = 0;

    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void print_cell(const char *text, size_t width)
{
    printf("%s%*s  ", text, (int)(width - columns(text)), "");
}

static const char *value_of(const struct fan_group *group, size_t i)
{
    return group->values && group->values[i] ? group->values[i] : "?";
}

void fan_table_print(const struct fan_out *out)
{
    const struct fan_group **sorted = fan_group_sort(out);
    size_t widths[KEYS_MAX];

    for (size_t i = 0; i < out->key_count; i++) {
        widths[i] = columns(out->key_list[i]);
        for (size_t j = 0; sorted && j < out->groups.count; j++)
            if (columns(value_of(sorted[j], i)) > widths[i])
                widths[i] = columns(value_of(sorted[j], i));
    }
    printf("COUNT  ");
    for (size_t i = 0; i < out->key_count; i++)
        print_cell(out->key_list[i], widths[i]);
    puts("HOSTS");
    for (size_t j = 0; sorted && j < out->groups.count; j++) {
        char *hosts = hosts_fold(sorted[j]->labels, sorted[j]->count);

        printf("%5zu  ", sorted[j]->count);
        for (size_t i = 0; i < out->key_count; i++)
            print_cell(value_of(sorted[j], i), widths[i]);
        puts(hosts ? hosts : "?");
        free(hosts);
    }
    free(sorted);
}
