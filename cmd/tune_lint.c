#include "tune_lint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "lint.h"
#include "lint_report.h"
#include "options.h"
#include "services.h"
#include "tidewait/text.h"

/* Where sysctl.d(5) has its files; the same name in an earlier folder masks those behind it. */
static const char *const folders[] = {"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d",
                                      "/usr/lib/sysctl.d"};

#define MAIN_FILE "/etc/sysctl.conf"

struct source {
    char *path;
    const char *name; /* the last part of the path */
    char *text;
};

struct sources {
    struct source *items;
    size_t count;
    size_t unread;
};

static int add_source(struct sources *sources, const char *path)
{
    struct source *more = reallocarray(sources->items, sources->count + 1, sizeof(*sources->items));
    const char *slash = strrchr(path, '/');
    char *copy = strdup(path);

    if (more)
        sources->items = more;
    if (!more || !copy) {
        free(copy);
        return -ENOMEM;
    }
    more[sources->count++] =
        (struct source){.path = copy, .name = slash ? copy + (slash + 1 - path) : copy};
    return 0;
}

static void sources_fini(struct sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        free(sources->items[i].path);
        free(sources->items[i].text);
    }
    free(sources->items);
}

static void complain(const char *text)
{
    char safe[512];

    safe[tw_text_safe(safe, sizeof(safe) - 1, text, strlen(text))] = 0;
    fprintf(stderr, "tidewait tune: %s\n", safe);
}

/* --- what the system applies ------------------------------------------------------------------ */

static bool is_masked(const struct sources *sources, const char *name)
{
    for (size_t i = 0; i < sources->count; i++)
        if (strcmp(sources->items[i].name, name) == 0)
            return true;
    return false;
}

static bool is_settings(const char *name)
{
    size_t len = strlen(name);

    return len > 5 && name[0] != '.' && strcmp(name + len - 5, ".conf") == 0;
}

static int find_in(struct sources *sources, const char *folder)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    char path[PATH_MAX];
    int rc = 0;

    if (!directory && errno == ENOENT)
        return 0;
    if (!directory) {
        snprintf(path, sizeof(path), "cannot read '%s': %s", folder, strerror(errno));
        complain(path);
        sources->unread++;
        return 0;
    }
    while (rc == 0 && (entry = readdir(directory))) {
        if (!is_settings(entry->d_name) || is_masked(sources, entry->d_name))
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        rc = add_source(sources, path);
    }
    closedir(directory);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct source *)a)->name, ((const struct source *)b)->name);
}

static bool is_linked(const struct sources *sources)
{
    struct stat wanted, status;

    for (size_t i = 0; i < sources->count; i++)
        if (stat(MAIN_FILE, &wanted) == 0 && stat(sources->items[i].path, &status) == 0 &&
            wanted.st_dev == status.st_dev && wanted.st_ino == status.st_ino)
            return true;
    return false;
}

/* systemd reads the main file only where the distribution has linked it into a folder; the sysctl
 * command, which other systems start with, reads it last. */
static int find_system(struct sources *sources)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
        rc = find_in(sources, folders[i]);
    if (rc)
        return rc;
    if (sources->count)
        qsort(sources->items, sources->count, sizeof(*sources->items), by_name);
    if (access(MAIN_FILE, F_OK) || is_linked(sources))
        return 0;
    if (access("/run/systemd/system", F_OK) == 0) {
        complain(MAIN_FILE " is left out: systemd does not read it, since nothing in sysctl.d "
                           "links to it");
        return 0;
    }
    return add_source(sources, MAIN_FILE);
}

/* --- judging ---------------------------------------------------------------------------------- */

static bool service_on(uint16_t port, void *context)
{
    const struct services *services = context;

    for (size_t i = 0; i < services->count; i++)
        if (services->items[i].port == port)
            return true;
    return false;
}

/* Reads what can be read; the others are told and left out. */
static int read_sources(struct sources *sources, struct lint_text *texts, size_t *count)
{
    for (size_t i = 0; i < sources->count; i++) {
        struct source *source = &sources->items[i];
        bool standard = strcmp(source->path, "-") == 0;
        struct tw_error error = {0};
        size_t len = 0;

        source->text = read_file(standard ? "/dev/stdin" : source->path, &len, &error);
        if (!source->text) {
            complain(error.text);
            sources->unread++;
            if (error.code == ENOMEM)
                return -ENOMEM;
            continue;
        }
        texts[(*count)++] = (struct lint_text){
            .name = standard ? "standard input" : source->path,
            .text = {source->text, len},
        };
    }
    return 0;
}

static int exit_code(const struct sources *sources, size_t read, const struct lint_report *report)
{
    if (sources->unread)
        return read ? EXIT_PARTLY : EXIT_USAGE;
    for (int i = 0; i < LINT_VERDICTS; i++)
        if (report->verdicts[i] && lint_is_complaint(i))
            return EXIT_NO;
    return EXIT_YES;
}

static int judge(struct sources *sources, bool system, struct lint_text *texts, size_t *count,
                 struct lint_report *report)
{
    struct services services = {.count = 0};
    struct lint_context context = {.service_on = service_on, .context = &services};
    int rc = read_sources(sources, texts, count);
    bool known = rc == 0 && system && services_find("", &services, NULL) == 0;

    if (rc == 0)
        rc = lint(texts, *count, known ? &context : NULL, report);
    services_fini(&services);
    return rc;
}

static int print(const struct lint_report *report, const struct lint_text *texts, size_t count,
                 bool json, bool color)
{
    int rc = 0;

    if (json)
        rc = report_lint_json(report, texts, count, stdout);
    else
        report_lint_text(report, texts, count, color, stdout);
    if (rc == 0 && (fflush(stdout) || ferror(stdout)))
        rc = -EIO;
    if (rc == -EIO)
        fprintf(stderr, "tidewait tune: cannot write to standard output: %s\n", strerror(errno));
    return rc;
}

static int lint_sources(struct sources *sources, bool system, bool json, bool color, bool quiet)
{
    struct lint_text *texts = calloc(sources->count + 1, sizeof(*texts));
    struct lint_report report = {.count = 0};
    size_t count = 0;
    int rc = texts ? judge(sources, system, texts, &count, &report) : -ENOMEM, code = EXIT_OURS;

    if (rc == 0) {
        code = exit_code(sources, count, &report);
        if (!quiet && (count || !sources->unread))
            rc = print(&report, texts, count, json, color);
    }
    if (rc == -ENOMEM)
        fputs("tidewait tune: no memory\n", stderr);
    if (rc)
        code = rc == -EIO ? EXIT_PARTLY : EXIT_OURS;
    lint_fini(&report);
    free(texts);
    return code;
}

int tune_lint(int count, char **files, bool json, bool color, bool quiet)
{
    struct sources sources = {.count = 0};
    int rc = 0, code;

    for (int i = 0; rc == 0 && i < count; i++)
        rc = add_source(&sources, files[i]);
    if (count == 0)
        rc = find_system(&sources);
    if (rc) {
        fputs("tidewait tune: no memory\n", stderr);
        code = EXIT_OURS;
    } else {
        code = lint_sources(&sources, count == 0, json, color, quiet);
    }
    sources_fini(&sources);
    return code;
}
