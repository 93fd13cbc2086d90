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

/* One of the two that are compared. */
struct side {
    const struct spool *spool;
    int fd;
    char path[64], label[LABEL_MAX + 20];
};

/* diff opens the files by our /proc, since they have no name. */
static int open_side(struct side *side, const char *hosts, enum fan_stream stream)
{
    side->fd = file_of(side->spool);
    snprintf(side->path, sizeof(side->path), "/proc/%d/fd/%d", getpid(), side->fd);
    snprintf(side->label, sizeof(side->label), "%.*s%s%s", LABEL_MAX, hosts,
             strlen(hosts) > LABEL_MAX ? ".." : "", stream == STREAM_ERR ? " (stderr)" : "");
    return side->fd < 0 ? side->fd : 0;
}

static int run_diff(struct fan_out *out, const struct side *base, const struct side *other,
                    char *text)
{
    const char *argv[] = {"diff",       "-u",       "--label",   base->label, "--label",
                          other->label, base->path, other->path, NULL};

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

static bool is_whole(const struct spool *spool)
{
    return spool->kept == spool_total(spool);
}

static void print_stream(struct fan_out *out, enum fan_stream stream, const struct fan_group *base,
                         const char *base_hosts, const struct fan_group *other, const char *hosts)
{
    struct side sides[2] = {{.spool = &base->kept->spools[stream], .fd = -1},
                            {.spool = &other->kept->spools[stream], .fd = -1}};
    char *text = malloc(DIFF_MAX);
    int rc = text ? open_side(&sides[0], base_hosts, stream) : -ENOMEM;

    if (rc == 0)
        rc = open_side(&sides[1], hosts, stream);
    if (rc == 0)
        rc = run_diff(out, &sides[0], &sides[1], text);
    if (rc == 0 || rc == 1)
        print(out, text);
    else if (rc > 1)
        printf("\\ diff failed with exit status %d\n", rc);
    else
        printf("\\ the difference cannot be shown: diff: %s\n", strerror(-rc));
    if (!is_whole(sides[0].spool) || !is_whole(sides[1].spool))
        puts("\\ what was not kept is not compared");
    for (int i = 0; i < 2; i++)
        if (sides[i].fd >= 0)
            close(sides[i].fd);
    free(text);
}

void fan_diff_print(struct fan_out *out, const struct fan_group *base, const char *base_hosts,
                    const struct fan_group *other, const char *hosts)
{
    for (int i = 0; i < STREAMS; i++) {
        uint64_t prints[2][2];

        fingerprint_end(&base->kept->spools[i].fingerprint, prints[0]);
        fingerprint_end(&other->kept->spools[i].fingerprint, prints[1]);
        if (memcmp(prints[0], prints[1], sizeof(prints[0])) != 0)
            print_stream(out, i, base, base_hosts, other, hosts);
    }
}
