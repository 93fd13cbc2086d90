#include <errno.h>

#include "builder.h"
#include "tune.h"

static const char *const dangers[] = {
    [DANGER_NONE] = NULL,
    [DANGER_LOWER] = "lower",
    [DANGER_ZERO] = "zero",
};

static json_t *changed_or_null(const struct report_setting *item)
{
    const struct setting *setting = item->setting;

    if (!item->value || !setting->preset)
        return json_null();
    return json_boolean(!setting_equal(setting, item->value, setting->preset));
}

static json_t *setting_object(struct builder *b, const struct report_setting *item)
{
    const struct setting *setting = item->setting;
    json_t *object = json_object();

    set(b, object, "name", json_string(setting->name));
    set(b, object, "group", json_string(setting->group));
    set(b, object, "value", text_or_null(item->value));
    set(b, object, "missing", json_boolean(item->missing));
    set(b, object, "error", text_or_null(item->reason));
    set(b, object, "default", text_or_null(setting->preset));
    set(b, object, "changed", changed_or_null(item));
    set(b, object, "min", json_integer(setting->min));
    set(b, object, "max", json_integer(setting->max));
    set(b, object, "unit", json_string(setting->unit));
    set(b, object, "since", json_string(setting->since));
    set(b, object, "brief", json_string(setting->brief));
    set(b, object, "effect", json_string(setting->effect));
    set(b, object, "risk", text_or_null(setting->risk));
    set(b, object, "folklore", text_or_null(setting->folklore));
    set(b, object, "scenario", text_or_null(setting->scenario));
    set(b, object, "unsafe", text_or_null(dangers[setting->danger]));
    set(b, object, "loss", text_or_null(setting->loss));
    set(b, object, "per_netns", json_boolean(setting->per_netns));
    return object;
}

int report_settings_json(const struct report_setting *items, size_t item_count, FILE *out)
{
    struct builder b = {0};
    json_t *object = json_object(), *array = json_array();
    int rc = 0;

    for (size_t i = 0; i < item_count; i++)
        append(&b, array, setting_object(&b, &items[i]));
    set(&b, object, "schema", json_string("tidewait.tune/1"));
    set(&b, object, "settings", array);
    if (b.bad || !object)
        rc = -ENOMEM;
    else if (json_dumpf(object, out, JSON_COMPACT) || fputc('\n', out) == EOF || fflush(out))
        rc = -EIO;
    json_decref(object);
    return rc;
}
