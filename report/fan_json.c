#include <string.h>

#include "fan_report.h"
#include "tidewait/text.h"

/* By hand, since what hosts wrote may be larger than memory should be. */

#define READ_SIZE ((size_t)4095) /* a multiple of three, for base64 */

/* Text that is UTF-8, or ends in half a character, of which it takes no more than whole ones.
 * Returns how many bytes were taken. */
static size_t print_text(const char *text, size_t len, bool ends, FILE *out)
{
    size_t at = 0;

    while (at < len) {
        unsigned char c = (unsigned char)text[at];
        uint32_t code;
        size_t size = tw_text_take(text + at, len - at, &code);

        if (size == 0 && !ends && len - at < 4)
            break;
        if (size == 0)
            fputc('?', out);
        else if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", out);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04x", c);
        else
            fwrite(text + at, 1, size, out);
        at += size ? size : 1;
    }
    return at;
}

void report_fan_json_text(const char *text, FILE *out)
{
    fputc('"', out);
    print_text(text, strlen(text), true, out);
    fputc('"', out);
}

/* As much as there is room for, over the borders of blocks. */
static size_t fill(const struct spool *spool, uint64_t at, char *buffer)
{
    size_t used = 0;
    long len;

    while (used < READ_SIZE &&
           (len = spool_read(spool, at + used, buffer + used, READ_SIZE - used)) > 0)
        used += (size_t)len;
    return used;
}

static void print_spool_text(const struct spool *spool, FILE *out)
{
    char buffer[READ_SIZE];
    uint64_t at = 0;
    size_t len;

    fputc('"', out);
    while ((len = fill(spool, at, buffer)))
        at += print_text(buffer, len, len < READ_SIZE || at + len == spool->kept, out);
    fputc('"', out);
}

static void print_base64(const unsigned char *data, size_t len, FILE *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (; len; data += 3) {
        unsigned bits = (unsigned)data[0] << 16 | (len > 1 ? (unsigned)data[1] << 8 : 0) |
                        (len > 2 ? data[2] : 0);
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
                        len > 1 ? digits[bits >> 6 & 63] : '=', len > 2 ? digits[bits & 63] : '='};

        fwrite(four, 1, sizeof(four), out);
        len -= len < 3 ? len : 3;
    }
}

static void print_spool_base64(const struct spool *spool, FILE *out)
{
    char buffer[READ_SIZE];
    uint64_t at = 0;
    size_t len;

    fputc('"', out);
    while ((len = fill(spool, at, buffer))) {
        print_base64((const unsigned char *)buffer, len, out);
        at += len;
    }
    fputc('"', out);
}

static void print_stream(const char *name, const struct spool *spool, FILE *out)
{
    fprintf(out, ",\"%s\":", name);
    if (spool->binary)
        fputs("null", out);
    else
        print_spool_text(spool, out);
    if (spool->binary) {
        fprintf(out, ",\"%s_base64\":", name);
        print_spool_base64(spool, out);
    }
    fprintf(out, ",\"%s_bytes\":%llu", name, (unsigned long long)spool_total(spool));
}

static void print_number(const char *name, long value, bool known, FILE *out)
{
    if (known)
        fprintf(out, ",\"%s\":%ld", name, value);
    else
        fprintf(out, ",\"%s\":null", name);
}

void report_fan_json(const struct job *job, const struct spool *spools, FILE *out)
{
    fputs("{\"host\":", out);
    report_fan_json_text(job->host->label, out);
    print_number("exit", job->exit, job->exit >= 0, out);
    print_number("signal", job->signal, job->signal != 0, out);
    fprintf(out, ",\"ms\":%.3f,\"attempts\":%u,\"cause\":", (double)job->took_ns / 1e6,
            job->attempts);
    if (job->cause)
        report_fan_json_text(cause_names[job->cause], out);
    else
        fputs("null", out);
    fputs(",\"detail\":", out);
    if (job->detail)
        report_fan_json_text(job->detail, out);
    else
        fputs("null", out);
    print_stream("stdout", &spools[STREAM_OUT], out);
    print_stream("stderr", &spools[STREAM_ERR], out);
    fputc('}', out);
}
