#include "plan_words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Beyond this many digits nobody counts. */
#define GROUPED_MAX 1e15

const char *plan_count(double value, char buf[PLAN_WORD_MAX])
{
    char plain[PLAN_WORD_MAX];
    int len, at = 0;

    if (isinf(value)) {
        snprintf(buf, PLAN_WORD_MAX, "no limit");
        return buf;
    }
    if (value >= GROUPED_MAX || (value < 9.5 && value != floor(value))) {
        snprintf(buf, PLAN_WORD_MAX, value < 1 ? "%.1g" : value < 10 ? "%.2g" : "%.3g", value);
        return buf;
    }
    len = snprintf(plain, sizeof(plain), "%.0f", value);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = plain[i];
    }
    buf[at] = 0;
    return buf;
}

/* Three digits that count, without zeros behind the point. */
static void three_digits(double value, const char *unit, char buf[PLAN_WORD_MAX])
{
    int len = snprintf(buf, PLAN_WORD_MAX, "%.*f",
                       value < 9.995   ? 2
                       : value < 99.95 ? 1
                                       : 0,
                       value);

    if (strchr(buf, '.')) {
        while (buf[len - 1] == '0')
            len--;
        if (buf[len - 1] == '.')
            len--;
    }
    snprintf(buf + len, PLAN_WORD_MAX - (size_t)len, "%s", unit);
}

const char *plan_time(double seconds, char buf[PLAN_WORD_MAX])
{
    if (isinf(seconds))
        snprintf(buf, PLAN_WORD_MAX, "never");
    else if (seconds == 0)
        snprintf(buf, PLAN_WORD_MAX, "0 s");
    else if (seconds < 1e-3)
        three_digits(seconds * 1e6, " us", buf);
    else if (seconds < 0.9995)
        three_digits(seconds * 1e3, " ms", buf);
    else if (seconds < 600)
        three_digits(seconds, " s", buf);
    else if (seconds < 36000)
        three_digits(seconds / 60, " min", buf);
    else if (seconds < 10 * 86400.0)
        three_digits(seconds / 3600, " h", buf);
    else if (seconds < 36500 * 86400.0)
        snprintf(buf, PLAN_WORD_MAX, "%.0f days", seconds / 86400);
    else
        snprintf(buf, PLAN_WORD_MAX, "100 years");
    return buf;
}

const char *plan_rate(double per_s, char buf[PLAN_WORD_MAX])
{
    char plain[PLAN_WORD_MAX];

    if (isinf(per_s))
        snprintf(buf, PLAN_WORD_MAX, "any rate");
    else if (per_s >= 99.5)
        snprintf(buf, PLAN_WORD_MAX, "%.30s/s", plan_count(per_s, plain));
    else if (per_s >= 0.095 || per_s == 0)
        three_digits(per_s, "/s", buf);
    else if (per_s * 3600 >= 0.095)
        three_digits(per_s * 3600, "/h", buf);
    else
        snprintf(buf, PLAN_WORD_MAX, "%.2g/h", per_s * 3600);
    return buf;
}

const char *plan_share(double share, char buf[PLAN_WORD_MAX])
{
    if (share <= 0)
        snprintf(buf, PLAN_WORD_MAX, "none");
    else if (share < 1e-4)
        snprintf(buf, PLAN_WORD_MAX, "less than 0.01 %%");
    else
        three_digits(share * 100, " %", buf);
    return buf;
}
