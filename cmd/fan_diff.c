#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fan_out.h"
#include "fan_report.h"
#include "tidewait/clock.h"
#include "tool.h"

#define DIFF_MAX  (1u << 20)
#define DIFF_TIME (60 * TW_NS_PER_S)
#define LABEL_MAX 60

/* A file with what the spool has kept; its descriptor or -errno. */
static int file_of(const struct spool *spool)
{
    char buffer[4096];
    uint64_t at = 0;
    long len;
    int fd = spill_file();

    while (fd >= 0 && (len = spool_read(spool, at, buffer, sizeof(buffer))) != 0) {
        if (len < 0 || write(fd, buffer, (size_t)len) != len) {
            int rc = len < 0 ? (int)len : -errno;

            close(fd);
            return rc ? rc : -EIO;
        }
        at += (uint64_t)len;
    }
    return fd;
}

/* diff opens the files by our /proc, since they have no name. */
static int run_diff(struct fan_out *out, int base, const char *base_name, int other,
                    const char *other_name, char *text)
{
    char paths[2][64], labels[2][LABEL_MAX + 4];
    const char *argv[] = {"diff",    "-u",     "--label", labels[0], "--label",
                          labels[1], paths[0], paths[1],  NULL};

    snprintf(paths[0], sizeof(paths[0]), "/proc/%d/fd/%d", getpid(), base);
    snprintf(paths[1], sizeof(paths[1]), "/proc/%d/fd/%d", getpid(), other);
    snprintf(labels[0], sizeof(labels[0]), "%.*s%s", LABEL_MAX, base_name,
             strlen(base_name) > LABEL_MAX ? ".." : "");
    snprintf(labels[1], sizeof(labels[1]), "%.*s%s", LABEL_MAX, other_name,
             strlen(other_name) > LABEL_MAX ? ".." : "");
    return tool_run((char *const *)argv, DIFF_TIME, out->stop, text, DIFF_MAX);
}

static void print(const struct fan_out *out, const char *text)
{
    struct tw_view rest = tw_view_of(text);

    while (rest.len) {
        struct tw_view line = tw_view_cut(&rest, '\n');

        report_fan_line(NULL, line.data, line.len, LINE_WHOLE, out->safe_out, stdout);
    }
    if (strlen(text) == DIFF_MAX - 1)
        puts("\\ the difference goes on");
}

void fan_diff_print(struct fan_out *out, const struct spool *base, const char *base_name,
                    const struct spool *other, const char *other_name)
{
    char *text = malloc(DIFF_MAX);
    int base_fd = file_of(base), other_fd = file_of(other);
    int rc = !text          ? -ENOMEM
             : base_fd < 0  ? base_fd
             : other_fd < 0 ? other_fd
                            : run_diff(out, base_fd, base_name, other_fd, other_name, text);

    if (rc == 0 || rc == 1)
        print(out, text);
    else if (rc > 1)
        printf("\\ diff failed with exit status %d\n", rc);
    else
        printf("\\ the difference cannot be shown: diff: %s\n", strerror(-rc));
    if (base_fd >= 0)
        close(base_fd);
    if (other_fd >= 0)
        close(other_fd);
    free(text);
}
