#include <errno.h>

#include "builder.h"
#include "tune_change.h"

struct json_t *report_changes_array(struct builder *builder, const struct changes *changes)
{
    json_t *array = json_array();

    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];
        json_t *object = json_object();

        set(builder, object, "name", json_string(change->setting->name));
        set(builder, object, "before", text_or_null(change->before));
        set(builder, object, "after", text_or_null(change->after));
        set(builder, object, "why", text_or_null(change->why));
        append(builder, array, object);
    }
    return array;
}

static const char *name_of(enum journal_outcome outcome, bool undo)
{
    switch (outcome) {
    case JOURNAL_RESTORED:
        return "restored";
    case JOURNAL_WAS_SO:
        return undo ? "was-so" : "as-applied";
    case JOURNAL_FOREIGN:
        return undo ? "foreign" : "drifted";
    case JOURNAL_GONE:
        return "gone";
    default:
        return undo ? "failed" : "unknown";
    }
}

static json_t *entry_object(struct builder *b, const struct journal_entry *entry, bool undo)
{
    json_t *object = json_object();

    set(b, object, "setting", entry->setting ? json_string(entry->setting->name) : json_null());
    set(b, object, "file", entry->setting ? json_null() : json_string(JOURNAL_KEEP_FILE));
    set(b, object, "outcome", json_string(name_of(entry->outcome, undo)));
    set(b, object, "former", text_or_null(entry->former));
    set(b, object, "applied", text_or_null(entry->applied));
    set(b, object, "now", text_or_null(entry->now));
    set(b, object, "error",
        entry->outcome == JOURNAL_FAILED ? text_or_null(entry->error.text) : json_null());
    return object;
}

int report_journal_json(const struct journal_report *report, bool undo, FILE *out)
{
    struct builder b = {0};
    json_t *object = json_object(), *array = json_array();
    int rc = 0;

    for (size_t i = 0; i < report->count; i++)
        append(&b, array, entry_object(&b, &report->entries[i], undo));
    set(&b, object, "schema", json_string("tidewait.tune-journal/1"));
    set(&b, object, "action", json_string(undo ? "undo" : "check"));
    set(&b, object, "rebooted", json_boolean(report->rebooted));
    set(&b, object, "entries", array);
    if (b.bad || !object)
        rc = -ENOMEM;
    else if (json_dumpf(object, out, JSON_COMPACT) || fputc('\n', out) == EOF || fflush(out))
        rc = -EIO;
    json_decref(object);
    return rc;
}
