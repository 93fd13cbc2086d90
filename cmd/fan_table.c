#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fan_out.h"
#include "fan_report.h"
#include "tidewait/text.h"

#define KEYS_MAX   16
#define VALUE_MAX  120 /* of what is shown of a value */
#define CELL_MAX   480 /* of what is shown in a cell */
#define VALUES_MAX 64  /* that are known by themselves */

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

/* Values, each once. Only what is shown of them is cut: cells are told apart by all of it. */
struct cell {
    char text[CELL_MAX];
    size_t len;
    uint64_t values[VALUES_MAX][2]; /* fingerprints; those without room are mixed into the last */
    size_t count;
};

static bool has_value(const struct cell *cell, const uint64_t value[2])
{
    for (size_t i = 0; i < cell->count; i++)
        if (memcmp(cell->values[i], value, sizeof(cell->values[i])) == 0)
            return true;
    return false;
}

/* Appends what there is room for, with dots for the rest. */
static void show(struct cell *cell, const char *text, size_t len)
{
    char part[VALUE_MAX + 4];
    size_t part_len = tw_text_safe(part, sizeof(part), text, len);
    bool cut = part_len > VALUE_MAX;

    if (cell->len + VALUE_MAX + sizeof(",..,..") > sizeof(cell->text)) {
        if (cell->text[cell->len] == 0)
            memcpy(cell->text + cell->len, ",..", sizeof(",.."));
        return;
    }
    if (cut)
        part_len = tw_text_safe(part, VALUE_MAX, text, len);
    cell->len +=
        (size_t)snprintf(cell->text + cell->len, sizeof(cell->text) - cell->len, "%s%.*s%s",
                         cell->len ? "," : "", (int)part_len, part, cut ? ".." : "");
}

static void add_text(const struct fan_out *out, struct cell *cell, const char *text, size_t len)
{
    struct fingerprint fingerprint;
    uint64_t value[2];

    fingerprint_begin(&fingerprint, out->spill.key);
    fingerprint_add(&fingerprint, text, len);
    fingerprint_end(&fingerprint, value);
    if (has_value(cell, value))
        return;
    show(cell, text, len);
    if (cell->count == VALUES_MAX) {
        fingerprint_add(&fingerprint, cell->values[--cell->count], sizeof(value));
        fingerprint_end(&fingerprint, value);
    }
    memcpy(cell->values[cell->count++], value, sizeof(value));
}

static void add_value(const struct fan_out *out, struct cell *cell, const json_t *value)
{
    char *text;

    if (json_is_string(value)) {
        add_text(out, cell, json_string_value(value), json_string_length(value));
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    if (text)
        add_text(out, cell, text, strlen(text));
    free(text);
}

/* The length of the first name of a path; *rest is what stands behind the dot, or NULL. */
static size_t first_of(const char *path, const char **rest)
{
    const char *dot = strchr(path, '.');

    *rest = dot ? dot + 1 : NULL;
    return dot ? (size_t)(dot - path) : strlen(path);
}

static json_t *member(const json_t *object, const char *name, size_t len)
{
    char key[256];

    snprintf(key, sizeof(key), "%.*s", (int)len, name);
    return len < sizeof(key) ? json_object_get(object, key) : NULL;
}

/* Follows a path such as holders.unit; of an array all elements. The depth is that of the path and
 * of the JSON, which jansson limits. NOLINTNEXTLINE(misc-no-recursion) */
static void find_value(const struct fan_out *out, struct cell *cell, const json_t *value,
                       const char *path)
{
    json_t *element;
    const char *rest;
    size_t len, index;

    if (json_is_array(value)) {
        json_array_foreach(value, index, element) find_value(out, cell, element, path);
        return;
    }
    len = first_of(path, &rest);
    element = member(value, path, len);
    if (element && rest)
        find_value(out, cell, element, rest);
    else if (json_is_array(element))
        json_array_foreach(element, index, value) add_value(out, cell, value);
    else if (element)
        add_value(out, cell, element);
}

/* --- a row ------------------------------------------------------------------------------------ */

static void add_row(struct fan_out *out, const struct job *job, const struct cell *cells)
{
    struct fingerprint fingerprint;
    struct fan_group *group;
    uint64_t key[2];

    fingerprint_begin(&fingerprint, out->spill.key);
    for (size_t i = 0; i < out->key_count; i++) {
        fingerprint_add(&fingerprint, &cells[i].count, sizeof(cells[i].count));
        fingerprint_add(&fingerprint, cells[i].values, cells[i].count * sizeof(cells[i].values[0]));
    }
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

/* What stands behind a first name in a path; NULL: it begins with another one, or ends with it. */
static const char *behind(const char *path, struct tw_view name)
{
    const char *rest;
    size_t len = first_of(path, &rest);

    return name.data && len == name.len && memcmp(path, name.data, len) == 0 ? rest : NULL;
}

/* A row of a record. Of the array that is named, if one is, it has a single element. */
static void add_cells(struct fan_out *out, const struct job *job, const json_t *record,
                      struct tw_view name, const json_t *element)
{
    struct cell cells[KEYS_MAX];

    for (size_t i = 0; i < out->key_count; i++) {
        const char *key = out->key_list[i], *rest = behind(key, name);

        cells[i].len = cells[i].count = 0;
        cells[i].text[0] = 0;
        find_value(out, &cells[i], rest ? element : record, rest ? rest : key);
        if (cells[i].count == 0)
            add_text(out, &cells[i], "-", 1);
    }
    add_row(out, job, cells);
}

/* The array that two keys or more go through, whose elements are rows then; NULL: there is none. */
static const json_t *array_of_keys(const struct fan_out *out, const json_t *record,
                                   struct tw_view *name)
{
    for (size_t i = 0; i < out->key_count; i++) {
        const char *rest;
        const json_t *array;

        name->data = out->key_list[i];
        name->len = first_of(name->data, &rest);
        array = rest ? member(record, name->data, name->len) : NULL;
        for (size_t j = i + 1; json_array_size(array) && j < out->key_count; j++)
            if (behind(out->key_list[j], *name))
                return array;
    }
    *name = (struct tw_view){NULL, 0};
    return NULL;
}

static void add_record(struct fan_out *out, const struct job *job, const json_t *record)
{
    struct tw_view name;
    const json_t *array = array_of_keys(out, record, &name), *element;
    size_t index;

    json_array_foreach(array, index, element) add_cells(out, job, record, name, element);
    if (!array)
        add_cells(out, job, record, name, NULL);
}

/* One for a host that has no record, or not all. */
static void add_failure(struct fan_out *out, const struct job *job, const char *how)
{
    struct cell cells[KEYS_MAX];
    char text[FAN_HOW_MAX + 2];

    snprintf(text, sizeof(text), "(%s)", how);
    for (size_t i = 0; i < out->key_count; i++) {
        cells[i].len = cells[i].count = 0;
        cells[i].text[0] = 0;
        add_text(out, &cells[i], i ? "-" : text, i ? 1 : strlen(text));
    }
    add_row(out, job, cells);
}

/* What is kept; *len is less than it was told when it cannot be read. */
static char *text_of(const struct spool *spool, size_t *len)
{
    char *text = malloc(spool->kept + 1);
    long got;

    *len = 0;
    while (text && (got = spool_read(spool, *len, text + *len, spool->kept - *len)) > 0)
        *len += (size_t)got;
    return text;
}

static bool begins_json(char c)
{
    return c == '{' || c == '[';
}

/* Where the next JSON text begins; before the first there may be lines of something else, such as
 * those that the start of a shell prints. */
static size_t next_text(const char *text, size_t at, size_t len, bool first)
{
    for (;;) {
        const char *newline;

        while (at < len && isspace((unsigned char)text[at]))
            at++;
        if (at == len || !first || begins_json(text[at]))
            return at;
        newline = memchr(text + at, '\n', len - at);
        at = newline ? (size_t)(newline - text) : len;
    }
}

/* One JSON text or several, one behind the other; of an array each element is a record. Returns
 * whether it was all JSON. */
static bool add_records(struct fan_out *out, const struct job *job, const char *text, size_t len)
{
    size_t at = next_text(text, 0, len, true), index;
    json_t *root, *element;
    json_error_t error;
    bool all = at < len;

    while (all && at < len) {
        root = json_loadb(text + at, len - at, JSON_DISABLE_EOF_CHECK, &error);
        all = root != NULL;
        at += all ? (size_t)error.position : 0;
        if (json_is_array(root)) {
            json_array_foreach(root, index, element) add_record(out, job, element);
            if (json_array_size(root) == 0)
                add_failure(out, job, "empty");
        } else if (root) {
            add_record(out, job, root);
        }
        json_decref(root);
        at = next_text(text, at, len, false);
    }
    return all;
}

void fan_table_add(struct fan_out *out, struct job *job)
{
    const struct fan_kept *kept = job->kept;
    const struct spool *spool = &kept->spools[STREAM_OUT];
    char how[FAN_HOW_MAX];
    size_t len;
    char *text = text_of(spool, &len);
    bool all;

    if (!text) {
        out->no_memory = true;
        return;
    }
    all = add_records(out, job, text, len);
    free(text);
    /* A command that ended by itself may say no by its exit status. */
    if (job->cause > CAUSE_EXIT || (!all && job->cause))
        add_failure(out, job, report_fan_how(job, how));
    else if (!all)
        add_failure(out, job, len < spool_total(spool) ? "cut off" : "no JSON");
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
