#include "tidewait/parse.h"

#include <errno.h>
#include <math.h>

#include "quote.h"
#include "tidewait/clock.h"

struct unit {
    const char *name;
    double factor;
};

struct tw_view tw_view_cut(struct tw_view *rest, char separator)
{
    struct tw_view head = *rest;
    const char *at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;

    if (!at) {
        rest->data = NULL;
        rest->len = 0;
        return head;
    }
    head.len = (size_t)(at - rest->data);
    rest->data = at + 1;
    rest->len -= head.len + 1;
    return head;
}

static bool is_in(char c, const char *set)
{
    return c && strchr(set, c);
}

struct tw_view tw_view_trim(struct tw_view view, const char *set)
{
    while (view.len && is_in(view.data[0], set)) {
        view.data++;
        view.len--;
    }
    while (view.len && is_in(view.data[view.len - 1], set))
        view.len--;
    return view;
}

struct tw_view tw_view_word(struct tw_view *rest, const char *set)
{
    struct tw_view all = tw_view_trim(*rest, set), word = all;

    for (word.len = 0; word.len < all.len && !is_in(all.data[word.len], set); word.len++)
        ;
    *rest = tw_view_trim((struct tw_view){all.data + word.len, all.len - word.len}, set);
    return word;
}

bool tw_view_equals(struct tw_view view, const char *text)
{
    return strlen(text) == view.len && (view.len == 0 || memcmp(view.data, text, view.len) == 0);
}

int tw_parse_number(struct tw_view text, const char *what, uint64_t min, uint64_t max,
                    uint64_t *out, struct tw_error *error)
{
    uint64_t value = 0;
    bool huge = false;

    if (text.len == 0)
        return tw_error_set(error, EINVAL, "%s: a number is missing", what);
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';

        if (digit > 9)
            return tw_error_set(error, EINVAL, "%s '%.*s' is not a number", what, QUOTE(text));
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            huge = true;
    }
    if (huge || value < min || value > max)
        return tw_error_set(error, ERANGE, "%s '%.*s' is outside %llu..%llu", what, QUOTE(text),
                            (unsigned long long)min, (unsigned long long)max);
    *out = value;
    return 0;
}

/* Reads digits with at most one point from the front of *text; false when there are none. Digits of
 * a fraction beyond what a double holds are skipped: counted on, they would end in inf / inf. */
static bool cut_decimal(struct tw_view *text, double *out)
{
    double value = 0, scale = 0;
    size_t i = 0, digits = 0;

    for (; i < text->len; i++) {
        char c = text->data[i];

        if (c == '.' && scale == 0) {
            scale = 1;
        } else if (c >= '0' && c <= '9') {
            digits++;
            if (scale < 1e18) {
                value = value * 10 + (c - '0');
                scale *= 10;
            }
        } else {
            break;
        }
    }
    if (digits == 0)
        return false;
    text->data += i;
    text->len -= i;
    *out = scale > 1 ? value / scale : value;
    return true;
}

/* A decimal followed by one of the units (the list ends with a NULL name). */
static int parse_with_unit(struct tw_view text, const char *what, const char *example,
                           const struct unit *units, double *out, struct tw_error *error)
{
    struct tw_view rest = text;
    double value;

    if (!cut_decimal(&rest, &value))
        return tw_error_set(error, EINVAL, "%s '%.*s' is not a number with a unit, such as %s",
                            what, QUOTE(text), example);
    for (const struct unit *unit = units; unit->name; unit++) {
        if (tw_view_equals(rest, unit->name) || (value == 0 && rest.len == 0)) {
            *out = value * unit->factor;
            return 0;
        }
    }
    if (rest.len == 0)
        return tw_error_set(error, EINVAL, "%s '%.*s' lacks a unit; write it as %s", what,
                            QUOTE(text), example);
    return tw_error_set(error, EINVAL, "%s '%.*s' has the unknown unit '%.*s'; write it as %s",
                        what, QUOTE(text), QUOTE(rest), example);
}

int tw_parse_duration(struct tw_view text, uint64_t *out_ns, struct tw_error *error)
{
    static const struct unit units[] = {{"ms", 1e6}, {"s", 1e9},    {"us", 1e3}, {"ns", 1},
                                        {"m", 60e9}, {"h", 3600e9}, {NULL, 0}};
    double value = 0;
    int rc = parse_with_unit(text, "time", "200ms or 10s", units, &value, error);

    if (rc)
        return rc;
    /* A year is more than any run or wait; what lies beyond is a slip of the finger. */
    if (value > 365.0 * 24 * 3600e9)
        return tw_error_set(error, ERANGE, "time '%.*s' is longer than a year", QUOTE(text));
    *out_ns = (uint64_t)llround(value);
    return 0;
}

int tw_parse_size(struct tw_view text, uint64_t *out_bytes, struct tw_error *error)
{
    static const struct unit units[] = {
        {"", 1},        {"B", 1},          {"KiB", 1024},   {"MiB", 1048576}, {"GiB", 1073741824},
        {"kB", 1000},   {"KB", 1000},      {"MB", 1000000}, {"GB", 1e9},      {"K", 1024},
        {"M", 1048576}, {"G", 1073741824}, {NULL, 0}};
    double value = 0;
    int rc = parse_with_unit(text, "size", "13KiB", units, &value, error);

    if (rc)
        return rc;
    if (value > 1e15)
        return tw_error_set(error, ERANGE, "size '%.*s' is larger than 1 PB", QUOTE(text));
    *out_bytes = (uint64_t)llround(value);
    return 0;
}

int tw_parse_rate(struct tw_view text, double *out_per_s, struct tw_error *error)
{
    static const struct unit units[] = {{"/s", 1},          {"k/s", 1000},      {"/m", 1.0 / 60},
                                        {"/min", 1.0 / 60}, {"/h", 1.0 / 3600}, {NULL, 0}};
    double value = 0;
    int rc = parse_with_unit(text, "rate", "5000/s", units, &value, error);

    if (rc)
        return rc;
    if (value <= 0 || value > 1e9)
        return tw_error_set(error, ERANGE, "rate '%.*s' is outside 0..1000000000/s", QUOTE(text));
    *out_per_s = value;
    return 0;
}

int tw_parse_share(struct tw_view text, double *out, struct tw_error *error)
{
    struct tw_view rest = text;
    double value;

    if (!cut_decimal(&rest, &value) || (rest.len != 0 && !tw_view_equals(rest, "%")))
        return tw_error_set(error, EINVAL, "share '%.*s' is not a percentage such as 5%%",
                            QUOTE(text));
    if (rest.len)
        value /= 100;
    if (value > 1)
        return tw_error_set(error, ERANGE, "share '%.*s' is more than 100%%", QUOTE(text));
    *out = value;
    return 0;
}

int tw_parse_ports(struct tw_view text, struct tw_port_range *out, struct tw_error *error)
{
    char separator = text.len && memchr(text.data, ':', text.len) ? ':' : '-';
    struct tw_view rest = text;
    struct tw_view head = tw_view_cut(&rest, separator);
    uint64_t first = 0, last;
    int rc;

    if (head.len == 0 || (rest.data && rest.len == 0))
        return tw_error_set(error, EINVAL, "port range '%.*s' lacks a number", QUOTE(text));
    if ((rc = tw_parse_number(head, "port", 1, 65535, &first, error)))
        return rc;
    last = first;
    if (rest.data && (rc = tw_parse_number(rest, "port", 1, 65535, &last, error)))
        return rc;
    if (last < first)
        return tw_error_set(error, EINVAL, "port range '%.*s' is reversed; write %llu-%llu",
                            QUOTE(text), (unsigned long long)last, (unsigned long long)first);
    out->first = (uint16_t)first;
    out->last = (uint16_t)last;
    return 0;
}
