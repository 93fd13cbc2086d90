#include "tune.h"

#include <stdlib.h>
#include <string.h>

#include "lab_figure.h"

/* --- parts ------------------------------------------------------------------------------------ */

static bool is_changed(const struct report_setting *item)
{
    return item->value && item->setting->preset &&
           !setting_equal(item->setting, item->value, item->setting->preset);
}

static char safe(char c)
{
    return c == '\t' ? ' ' : (unsigned char)c < ' ' || (unsigned char)c > '~' ? '?' : c;
}

/* A value for a column: the tabs of the kernel are blanks, and what is too long is cut. */
static void print_value(char *text, size_t size, const char *value)
{
    size_t len = strlen(value);

    if (!len) {
        snprintf(text, size, "none");
        return;
    }
    if (len < size)
        snprintf(text, size, "%s", value);
    else
        snprintf(text, size, "%.*s..", (int)size - 3, value);
    for (char *c = text; *c; c++)
        *c = safe(*c);
}

/* The name without its folder: no two settings share it. */
static const char *last_part(const struct setting *setting)
{
    return strrchr(setting->name, '.') + 1;
}

/* --- the table -------------------------------------------------------------------------------- */

enum { NAME_WIDTH = 27, VALUE_WIDTH = 20, PRESET_WIDTH = 11 };

static void print_row(const struct report_setting *item, bool color, FILE *out)
{
    const struct setting *setting = item->setting;
    char value[VALUE_WIDTH + 1], preset[PRESET_WIDTH + 1];
    bool changed = is_changed(item);
    const char *name = last_part(setting);

    print_value(value, sizeof(value),
                item->value     ? item->value
                : item->missing ? "(missing)"
                                : "(not readable)");
    print_value(preset, sizeof(preset), setting->preset ? setting->preset : "varies");
    fprintf(out, "%c %-*s", changed ? '*' : ' ', NAME_WIDTH, name);
    /* A long name has the line to itself. */
    if (strlen(name) >= NAME_WIDTH)
        fprintf(out, "\n  %-*s", NAME_WIDTH, "");
    fprintf(out, "%s%-*s%s  %-*s  %s\n", color && changed ? "\033[1m" : "", VALUE_WIDTH, value,
            color && changed ? "\033[0m" : "", PRESET_WIDTH, preset, setting->brief);
}

/* What cannot be read, one reason a line. */
static void print_unread(const struct report_setting *items, size_t count, FILE *out)
{
    bool first = true;

    for (size_t i = 0; i < count; i++) {
        if (!items[i].reason)
            continue;
        if (first)
            fputc('\n', out);
        first = false;
        figure_wrap(items[i].reason, SIZE_MAX, 2, FIGURE_COLUMNS, out);
    }
}

void report_settings_table(const struct report_setting *items, size_t count, bool color, FILE *out)
{
    const char *group = "";

    fprintf(out, "  %-*s%-*s  %-*s  %s\n", NAME_WIDTH, "setting", VALUE_WIDTH, "value",
            PRESET_WIDTH, "default", "what it is for");
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group, items[i].setting->group) != 0)
            fprintf(out, "\n%s%s%s\n", color ? "\033[1m" : "", items[i].setting->group,
                    color ? "\033[0m" : "");
        group = items[i].setting->group;
        print_row(&items[i], color, out);
    }
    print_unread(items, count, out);
    fputs("\n* differs from the default of the kernel. 'tidewait tune explain NAME' tells of one "
          "in full.\n",
          out);
}

/* --- in full ---------------------------------------------------------------------------------- */

#define LABEL_WIDTH 12

static void print_label(const char *label, bool color, FILE *out)
{
    fprintf(out, "  %s%-*s%s", color ? "\033[2m" : "", LABEL_WIDTH - 2, label,
            color ? "\033[0m" : "");
}

static void print_labelled(const char *label, const char *text, bool color, FILE *out)
{
    if (!text)
        return;
    print_label(label, color, out);
    figure_wrap(text, SIZE_MAX, LABEL_WIDTH, FIGURE_COLUMNS, out);
}

/* Goes to the next line before what does not fit in this one. */
static void print_piece(const char *text, size_t len, int *at, FILE *out)
{
    if (*at > LABEL_WIDTH && *at + (int)len >= FIGURE_COLUMNS) {
        *at = fprintf(out, "\n%*s", LABEL_WIDTH, "") - 1;
        if (*text == ' ')
            text++, len--;
    }
    for (size_t i = 0; i < len; i++)
        fputc(safe(text[i]), out);
    *at += (int)len;
}

/* The whole value; lists are broken behind their commas. */
static void print_whole(const char *value, int *at, FILE *out)
{
    if (!*value)
        print_piece("none", 4, at, out);
    while (*value) {
        size_t len = strcspn(value, ", \t");
        bool comma = value[len] == ',';

        print_piece(value, len + comma, at, out);
        value += len + (value[len] != 0);
        if (*value && !comma)
            print_piece(" ", 1, at, out);
    }
}

static void print_now(const struct report_setting *item, bool color, FILE *out)
{
    const struct setting *setting = item->setting;
    const char *remark = !setting->preset   ? ""
                         : is_changed(item) ? " (changed from the default)"
                                            : " (the default)";
    int at = LABEL_WIDTH;

    if (!item->value) {
        print_labelled("now", item->reason, color, out);
        return;
    }
    print_label("now", color, out);
    print_whole(item->value, &at, out);
    if (*setting->unit && setting->kind == SETTING_NUMBER) {
        print_piece(" ", 1, &at, out);
        print_piece(setting->unit, strlen(setting->unit), &at, out);
    }
    print_piece(remark, strlen(remark), &at, out);
    fputc('\n', out);
}

static void print_default(const struct setting *setting, bool color, FILE *out)
{
    const char *preset = setting->preset ? setting->preset : "depends on memory or version";
    bool counts = setting->kind != SETTING_RANGE && setting->kind != SETTING_PORTS;
    const char *unit = counts ? setting->unit : "";
    char line[FIGURE_COLUMNS];

    print_labelled("default", *preset ? preset : "none", color, out);
    snprintf(line, sizeof(line), "%s%lld to %lld%s%s",
             setting->kind == SETTING_NUMBER ? "" : "each ", (long long)setting->min,
             (long long)setting->max, *unit ? " " : "", unit);
    print_labelled("bounds", line, color, out);
}

static void print_effect(const struct setting *setting, bool color, FILE *out)
{
    const char *second = strchr(setting->effect, '\n') + 1;

    print_label("effect", color, out);
    figure_wrap(setting->effect, (size_t)(second - setting->effect) - 1, LABEL_WIDTH,
                FIGURE_COLUMNS, out);
    print_labelled("", second, color, out);
}

static void print_unsafe(const struct setting *setting, bool color, FILE *out)
{
    static const char *const ways[] = {
        [DANGER_LOWER] = "to lower it: ",
        [DANGER_ZERO] = "0: ",
    };
    char line[400];

    if (setting->danger == DANGER_NONE)
        return;
    snprintf(line, sizeof(line), "%s%s", ways[setting->danger], setting->loss);
    print_labelled("unsafe", line, color, out);
}

static void print_since(const struct setting *setting, bool color, FILE *out)
{
    char line[FIGURE_COLUMNS];

    snprintf(line, sizeof(line), "Linux %s; %s", setting->since,
             setting->kind == SETTING_LIMIT ? "each process has its own"
             : setting->per_netns           ? "each network namespace has its own"
                                            : "one for the whole host");
    print_labelled("since", line, color, out);
}

static void print_scenario(const struct setting *setting, bool color, FILE *out)
{
    char line[FIGURE_COLUMNS];

    if (!setting->scenario)
        return;
    snprintf(line, sizeof(line), "tidewait lab %s", setting->scenario);
    print_labelled("shown by", line, color, out);
}

void report_settings_text(const struct report_setting *items, size_t count, bool color, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct setting *setting = items[i].setting;

        fprintf(out, "%s%s%s%s\n", i ? "\n" : "", color ? "\033[1m" : "", setting->name,
                color ? "\033[0m" : "");
        print_now(&items[i], color, out);
        print_default(setting, color, out);
        print_effect(setting, color, out);
        print_labelled("risk", setting->risk, color, out);
        print_unsafe(setting, color, out);
        print_labelled("folklore", setting->folklore, color, out);
        print_since(setting, color, out);
        print_scenario(setting, color, out);
    }
}
