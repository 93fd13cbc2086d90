#include "fan_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fan_report.h"

/* Spools that have ended go to the disk beyond this. */
#define MEMORY_MAX (32u << 20)

static enum fan_mode mode_of(const struct fan_config *config)
{
    return config->gather       ? MODE_GATHER
           : config->diff       ? MODE_DIFF
           : config->keys       ? MODE_TABLE
           : config->json       ? MODE_JSON
           : config->json_lines ? MODE_JSONL
           : config->folder     ? MODE_FILES
                                : MODE_LINES;
}

static bool keeps(const struct fan_out *out)
{
    return out->mode >= MODE_GATHER;
}

static int open_folder(struct fan_out *out, const char *path, struct tw_error *error)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        return tw_error_set(error, errno, "--outdir '%s': %s", path, strerror(errno));
    out->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out->folder < 0 || faccessat(out->folder, ".", W_OK, 0))
        return tw_error_set(error, errno, "--outdir '%s': %s", path, strerror(errno));
    return 0;
}

int fan_out_init(struct fan_out *out, const struct fan_config *config, atomic_int *stop,
                 struct tw_error *error)
{
    *out = (struct fan_out){
        .config = config,
        .mode = mode_of(config),
        .safe_out = isatty(STDOUT_FILENO),
        .safe_err = isatty(STDERR_FILENO),
        .groups = {.item_size = sizeof(struct fan_group), .key_size = sizeof(uint64_t[2])},
        .folder = -1,
        .stop = stop,
    };
    spill_init(&out->spill, MEMORY_MAX);
    /* Both are flushed after each turn of the loop: lines are never torn, and nothing is late. */
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    setvbuf(stderr, NULL, _IOFBF, 1 << 16);
    if (config->folder && open_folder(out, config->folder, error))
        return -error->code;
    return config->keys ? fan_table_init(out, config->keys, error) : 0;
}

void fan_out_fini(struct fan_out *out)
{
    struct fan_group *groups = out->groups.items;

    for (size_t i = 0; i < out->groups.count; i++)
        fan_group_fini(&groups[i]);
    table_fini(&out->groups);
    spill_fini(&out->spill);
    if (out->folder >= 0)
        close(out->folder);
    free(out->keys);
    free(out->key_list);
}

/* --- files ------------------------------------------------------------------------------------ */

static void open_files(struct fan_out *out, const struct job *job, struct fan_kept *kept)
{
    static const char *const ends[STREAMS] = {".out", ".err"};
    char name[HOST_LABEL_MAX + 8];

    for (int i = 0; i < STREAMS; i++) {
        snprintf(name, sizeof(name), "%s%s", job->host->label, ends[i]);
        kept->files[i] =
            openat(out->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (kept->files[i] < 0)
            out->failed = errno;
    }
}

static void write_file(struct fan_out *out, int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            out->failed = errno;
            return;
        }
        data += n;
        len -= (size_t)n;
    }
}

static void close_files(struct fan_kept *kept)
{
    for (int i = 0; i < STREAMS; i++) {
        if (kept->files[i] >= 0)
            close(kept->files[i]);
        kept->files[i] = -1;
    }
}

void fan_kept_free(struct fan_kept *kept)
{
    if (!kept)
        return;
    close_files(kept);
    for (int i = 0; i < STREAMS; i++) {
        spool_fini(&kept->spools[i]);
        free(kept->lines[i].held);
    }
    free(kept);
}

/* --- the calls of the sink -------------------------------------------------------------------- */

void fan_out_begin(struct fan_out *out, struct job *job)
{
    struct fan_kept *kept = calloc(1, sizeof(*kept));

    job->kept = kept;
    if (!kept) {
        out->no_memory = true;
        atomic_store(out->stop, 1);
        return;
    }
    kept->files[STREAM_OUT] = kept->files[STREAM_ERR] = -1;
    if (out->folder >= 0)
        open_files(out, job, kept);
    for (int i = 0; keeps(out) && i < STREAMS; i++)
        spool_init(&kept->spools[i], &out->spill, out->config->keep);
}

/* Where a line goes. */
struct place {
    struct fan_out *out;
    const struct job *job;
    enum fan_stream stream;
};

static void print_line(void *context, const char *text, size_t len, enum line_end end)
{
    const struct place *place = context;
    struct fan_out *out = place->out;
    bool is_err = place->stream == STREAM_ERR;

    if (out->bare)
        fputs("\r\033[K", stderr);
    if (out->bare)
        fflush(stderr);
    out->bare = false;
    out->written = true;
    report_fan_line(out->config->no_prefix ? NULL : place->job->host->label, text, len, end,
                    is_err ? out->safe_err : out->safe_out, is_err ? stderr : stdout);
}

void fan_out_data(struct fan_out *out, struct job *job, enum fan_stream stream, const char *data,
                  size_t len)
{
    struct place place = {out, job, stream};
    struct fan_kept *kept = job->kept;

    if (!kept)
        return;
    if (kept->files[stream] >= 0)
        write_file(out, kept->files[stream], data, len);
    if (keeps(out))
        spool_add(&kept->spools[stream], data, len);
    if (out->mode == MODE_LINES)
        lines_add(&kept->lines[stream], data, len, print_line, &place);
}

static void tell_failure(struct fan_out *out, const struct job *job)
{
    if (out->config->quiet || job->cause == CAUSE_NONE || keeps(out))
        return;
    /* We ended it ourselves: `fan | head` should not tell of every host. */
    if (out->failed && job->cause == CAUSE_INTERRUPTED)
        return;
    if (out->bare)
        fputs("\r\033[K", stderr);
    out->bare = false;
    /* In its place behind what the host wrote. */
    fflush(stdout);
    report_fan_failure(job, stderr);
    out->written = true;
}

void fan_out_done(struct fan_out *out, struct job *job)
{
    struct fan_kept *kept = job->kept;

    for (int i = 0; kept && i < STREAMS; i++) {
        struct place place = {out, job, i};

        lines_end(&kept->lines[i], print_line, &place);
        if (keeps(out))
            spool_end(&kept->spools[i]);
        if (kept->spools[i].failed)
            out->unkept = kept->spools[i].failed;
    }
    tell_failure(out, job);
    if (!kept)
        return;
    close_files(kept);
    if (out->mode == MODE_JSON)
        return;
    if (out->mode == MODE_GATHER || out->mode == MODE_DIFF) {
        fan_group_add(out, job);
        return;
    }
    if (out->mode == MODE_TABLE)
        fan_table_add(out, job);
    if (out->mode == MODE_JSONL) {
        report_fan_json(job, kept->spools, stdout);
        fputc('\n', stdout);
        out->written = true;
    }
    fan_kept_free(kept);
    job->kept = NULL;
}

static void flush(struct fan_out *out, FILE *stream)
{
    errno = 0;
    if (fflush(stream) == 0 && !ferror(stream))
        return;
    /* The error may be that of an earlier write, whose number nobody has kept. */
    if (!out->failed)
        out->failed = errno ? errno : EIO;
    atomic_store(out->stop, 1);
}

void fan_out_flush(struct fan_out *out)
{
    if (out->written)
        flush(out, stdout);
    /* There what the hosts write is printed too; in other modes it has words of ours only. */
    if (out->written && out->mode == MODE_LINES)
        flush(out, stderr);
    else
        fflush(stderr);
    out->written = false;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void print_json(const struct job *jobs, size_t count, double seconds)
{
    size_t failed = 0;

    fputs("{\"schema\":\"tidewait.fan/1\",\"hosts\":[", stdout);
    for (size_t i = 0; i < count; i++) {
        static const struct spool none[STREAMS];
        const struct fan_kept *kept = jobs[i].kept;

        fputs(i ? ",\n" : "\n", stdout);
        report_fan_json(&jobs[i], kept ? kept->spools : none, stdout);
        failed += jobs[i].cause != CAUSE_NONE;
    }
    printf("\n],\"total\":%zu,\"ok\":%zu,\"failed\":%zu,\"ms\":%.3f}\n", count, count - failed,
           failed, seconds * 1e3);
}

void fan_out_end(struct fan_out *out, const struct job *jobs, size_t count, double seconds)
{
    if (out->mode == MODE_GATHER || out->mode == MODE_DIFF)
        fan_group_print(out);
    if (out->mode == MODE_TABLE)
        fan_table_print(out);
    if (out->mode == MODE_JSON)
        print_json(jobs, count, seconds);
    for (size_t i = 0; i < count; i++)
        if (out->mode == MODE_JSON)
            fan_kept_free(jobs[i].kept);
    out->written = true;
    fan_out_flush(out);
}
