#include "tune_show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"
#include "options.h"
#include "sysctl.h"
#include "tidewait/text.h"
#include "tune.h"

/* There is at least one. */
static size_t setting_count(void)
{
    size_t count = 1;

    while (settings[count].name)
        count++;
    return count;
}

/* The rows asked about with what this host says of them. */
struct view {
    struct report_setting *items;
    char **values;
    struct tw_error *errors;
    size_t count;
};

static bool view_init(struct view *view)
{
    size_t room = setting_count();

    *view = (struct view){
        .items = calloc(room, sizeof(*view->items)),
        .values = calloc(room, sizeof(*view->values)),
        .errors = calloc(room, sizeof(*view->errors)),
    };
    return view->items && view->values && view->errors;
}

static void view_fini(struct view *view)
{
    for (size_t i = 0; i < view->count; i++)
        free(view->values[i]);
    free(view->items);
    free(view->values);
    free(view->errors);
}

/* Reads a setting, unless it is there already. */
static void view_add(struct view *view, const struct setting *setting)
{
    size_t at = view->count;
    int rc;

    for (size_t i = 0; i < at; i++)
        if (view->items[i].setting == setting)
            return;
    rc = sysctl_read(setting, &view->values[at], &view->errors[at]);
    view->items[at] = (struct report_setting){
        .setting = setting,
        .value = view->values[at],
        .missing = rc == -ENOENT,
        .reason = rc ? view->errors[at].text : NULL,
    };
    view->count++;
}

static int no_memory(void)
{
    fprintf(stderr, "tidewait tune: no memory\n");
    return EXIT_OURS;
}

/* Prints as one of the two, and ends the command. */
static int view_print(const struct view *view, bool json, bool color,
                      void (*print)(const struct report_setting *, size_t, bool, FILE *))
{
    int rc = 0;

    if (json)
        rc = report_settings_json(view->items, view->count, stdout);
    else
        print(view->items, view->count, color, stdout);
    if (rc == -ENOMEM)
        return no_memory();
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait tune: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_PARTLY;
    }
    return EXIT_YES;
}

int tune_show(bool json, bool color)
{
    struct view view;
    int code;

    if (view_init(&view)) {
        for (const struct setting *setting = settings; setting->name; setting++)
            view_add(&view, setting);
        code = view_print(&view, json, color, report_settings_table);
    } else {
        code = no_memory();
    }
    view_fini(&view);
    return code;
}

void tune_offer(const char *typed, char *text, size_t size)
{
    struct nearest nearest = {.count = 0};
    size_t folders = 0;

    /* Folders are rarely what was mistyped: settings are told apart by the last part. */
    for (size_t i = 0; typed[i]; i++)
        if (typed[i] == '.' || typed[i] == '/')
            folders = i + 1;
    for (const struct setting *setting = settings; setting->name; setting++)
        nearest_offer(&nearest, typed + folders, strrchr(setting->name, '.') + 1);
    nearest_print(&nearest, text, size);
    if (!nearest.count)
        snprintf(text, size, "; 'tidewait tune' lists them");
}

static int complain(const char *name)
{
    char offered[256], harmless[256];

    tune_offer(name, offered, sizeof(offered));
    harmless[tw_text_safe(harmless, sizeof(harmless) - 1, name, strlen(name))] = 0;
    fprintf(stderr, "tidewait tune: explain knows no setting '%.80s'%s\n", harmless, offered);
    return EXIT_USAGE;
}

int tune_explain(int count, char **names, bool json, bool color)
{
    struct view view;
    int code = EXIT_YES;

    if (count == 0) {
        fprintf(stderr, "tidewait tune: explain what? tidewait tune explain tcp_tw_reuse; "
                        "'tidewait tune' lists the names\n");
        return EXIT_USAGE;
    }
    if (!view_init(&view))
        code = no_memory();
    for (int i = 0; i < count && code == EXIT_YES; i++) {
        const struct setting *setting = setting_find(tw_view_of(names[i]));

        if (setting)
            view_add(&view, setting);
        else
            code = complain(names[i]);
    }
    if (code == EXIT_YES)
        code = view_print(&view, json, color, report_settings_text);
    view_fini(&view);
    return code;
}
