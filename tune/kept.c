#include "kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"

static bool is_changed(const struct changes *changes, const struct setting *setting)
{
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].setting == setting)
            return true;
    return false;
}

/* "name = value" of emit.h, with the reason in the comment before it. Cuts the line up. */
static int add_line(char *line, const char *why, const struct changes *changes, struct changes *out)
{
    char *value = strstr(line, " = ");
    const struct setting *setting;

    if (!value)
        return 0;
    *value = 0;
    value += strlen(" = ");
    setting = setting_find(tw_view_of(line));
    if (!setting || is_changed(changes, setting) || setting_check(setting, tw_view_of(value), NULL))
        return 0;
    return changes_add(out, setting, value, value, why);
}

static int read_lines(FILE *file, const struct changes *changes, struct changes *out)
{
    char *line = NULL, *why = strdup("");
    size_t size = 0;
    int rc = why ? 0 : -ENOMEM;

    while (rc == 0 && getline(&line, &size, file) >= 0) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "# ", 2) != 0) {
            rc = add_line(line, why, changes, out);
            continue;
        }
        free(why);
        why = strdup(line + 2);
        rc = why ? 0 : -ENOMEM;
    }
    if (rc == 0 && ferror(file))
        rc = -EIO;
    free(line);
    free(why);
    return rc;
}

int kept_merge(const char *root, const struct changes *changes, struct changes *out,
               struct tw_error *error)
{
    char *path = NULL;
    FILE *file;
    int rc = 0;

    *out = (struct changes){0};
    if (asprintf(&path, "%s" JOURNAL_KEEP_FILE, root) < 0)
        return tw_error_set(error, ENOMEM, "no memory");
    file = fopen(path, "re");
    if (file) {
        rc = read_lines(file, changes, out);
        fclose(file);
    } else if (errno != ENOENT && errno != ENOTDIR) {
        rc = -errno;
    }
    if (rc)
        tw_error_set(error, -rc, "cannot read %s: %s", path, strerror(-rc));
    free(path);
    for (size_t i = 0; rc == 0 && i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        rc = changes_add(out, change->setting, change->before, change->after, change->why);
    }
    return rc;
}
