#include "setting.h"

#include <errno.h>

#include "tidewait/ports.h"

/* How much of a wrong value is quoted. */
#define QUOTED_MAX 40

#define QUOTED(view) (int)((view).len < QUOTED_MAX ? (view).len : QUOTED_MAX), (view).data

/* Numbers in one value. */
#define NUMBERS_MAX 3

static const char blanks[] = " \t\n";

/* --- names ------------------------------------------------------------------------------------ */

/* Whether a name with dots or slashes is this one, which has dots. */
static bool is_named(struct tw_view typed, const char *name)
{
    if (typed.len != strlen(name))
        return false;
    for (size_t i = 0; i < typed.len; i++)
        if ((typed.data[i] == '/' ? '.' : typed.data[i]) != name[i])
            return false;
    return true;
}

const struct setting *setting_find(struct tw_view name)
{
    static const char folder[] = "/proc/sys/";
    size_t folder_len = sizeof(folder) - 1;

    if (name.len > folder_len && memcmp(name.data, folder, folder_len) == 0) {
        name.data += folder_len;
        name.len -= folder_len;
    }
    for (const struct setting *setting = settings; setting->name; setting++)
        if (is_named(name, setting->name) || is_named(name, strrchr(setting->name, '.') + 1))
            return setting;
    return NULL;
}

/* --- values ----------------------------------------------------------------------------------- */

static int check_number(const struct setting *setting, struct tw_view text, uint64_t *out,
                        struct tw_error *error)
{
    if (text.len > 1 && text.data[0] == '0')
        return tw_error_set(error, EINVAL,
                            "%s '%.*s' begins with 0: the kernel does not read that as decimal",
                            setting->name, QUOTED(text));
    return tw_parse_number(text, setting->name, (uint64_t)setting->min, (uint64_t)setting->max, out,
                           error);
}

/* Whether a text is so many words of digits alone. */
static bool has_form(struct tw_view text, size_t least, size_t most)
{
    size_t count = 0;

    while (text.len) {
        struct tw_view word = tw_view_word(&text, blanks);

        for (size_t i = 0; i < word.len; i++)
            if (word.data[i] < '0' || word.data[i] > '9')
                return false;
        count++;
    }
    return count >= least && count <= most;
}

/* Several numbers with blanks between them. */
static int check_numbers(const struct setting *setting, struct tw_view text, size_t least,
                         size_t most, struct tw_error *error)
{
    static const char *const forms[] = {
        [SETTING_NUMBERS] = "three numbers with blanks between them, as in '4096 131072 6291456'",
        [SETTING_RANGE] = "two numbers with a blank between them, as in '1024 65535'",
        [SETTING_LIMIT] = "one number, or two with a blank between them, as in '1024 65535'",
    };
    uint64_t numbers[NUMBERS_MAX] = {0};
    struct tw_view rest = text;
    size_t count = 0;

    if (!has_form(text, least, most))
        return tw_error_set(error, EINVAL, "%s '%.*s' is not %s", setting->name, QUOTED(text),
                            forms[setting->kind]);
    for (; rest.len; count++) {
        int rc = check_number(setting, tw_view_word(&rest, blanks), &numbers[count], error);

        if (rc)
            return rc;
    }
    if (setting->kind != SETTING_NUMBERS && count == 2 && numbers[0] > numbers[1])
        return tw_error_set(error, EINVAL, "%s '%.*s': the first number is above the second",
                            setting->name, QUOTED(text));
    return 0;
}

/* A list as the kernel takes it: no blanks anywhere, and "-" alone between two ports. Port 0 is one
 * to it.
 */
static int check_ports(const struct setting *setting, struct tw_view text, struct tw_ports *out,
                       struct tw_error *error)
{
    struct tw_view rest = text;

    while (rest.len) {
        struct tw_view last = tw_view_cut(&rest, ','), first = tw_view_cut(&last, '-');
        uint64_t from = 0, to;
        int rc = check_number(setting, first, &from, error);

        to = from;
        if (rc == 0 && last.data)
            rc = check_number(setting, last, &to, error);
        if (rc)
            return rc;
        if (from > to)
            return tw_error_set(error, EINVAL, "%s '%.*s': the first port is above the last",
                                setting->name, QUOTED(text));
        tw_ports_add_range(out, (struct tw_port_range){(uint16_t)from, (uint16_t)to});
    }
    return 0;
}

int setting_check(const struct setting *setting, struct tw_view value, struct tw_error *error)
{
    struct tw_view text = tw_view_trim(value, blanks);
    struct tw_ports ports = {0};
    uint64_t number;

    switch (setting->kind) {
    case SETTING_NUMBERS:
        return check_numbers(setting, text, NUMBERS_MAX, NUMBERS_MAX, error);
    case SETTING_RANGE:
        return check_numbers(setting, text, 2, 2, error);
    case SETTING_LIMIT:
        return check_numbers(setting, text, 1, 2, error);
    case SETTING_PORTS:
        return check_ports(setting, value, &ports, error);
    default:
        return check_number(setting, text, &number, error);
    }
}

/* A number as the kernel may write it, below zero as well. */
static bool read_number(struct tw_view text, int64_t *out)
{
    bool negative = text.len && text.data[0] == '-';
    uint64_t value;

    if (negative) {
        text.data++;
        text.len--;
    }
    if (tw_parse_number(text, "", 0, INT64_MAX, &value, NULL))
        return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool same_word(struct tw_view a, struct tw_view b)
{
    int64_t a_number, b_number;

    if (read_number(a, &a_number) && read_number(b, &b_number))
        return a_number == b_number;
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool same_words(const char *a, const char *b)
{
    struct tw_view a_rest = tw_view_trim(tw_view_of(a), blanks),
                   b_rest = tw_view_trim(tw_view_of(b), blanks);

    while (a_rest.len && b_rest.len)
        if (!same_word(tw_view_word(&a_rest, blanks), tw_view_word(&b_rest, blanks)))
            return false;
    return !a_rest.len && !b_rest.len;
}

bool setting_equal(const struct setting *setting, const char *a, const char *b)
{
    struct tw_ports a_ports = {0}, b_ports = {0};

    if (setting->kind == SETTING_PORTS &&
        check_ports(setting, tw_view_trim(tw_view_of(a), blanks), &a_ports, NULL) == 0 &&
        check_ports(setting, tw_view_trim(tw_view_of(b), blanks), &b_ports, NULL) == 0)
        return memcmp(&a_ports, &b_ports, sizeof(a_ports)) == 0;
    return same_words(a, b);
}

bool setting_is_unsafe(const struct setting *setting, const char *before, const char *after)
{
    int64_t from, to;

    if (setting->danger == DANGER_NONE)
        return false;
    /* What cannot be read may be anything. */
    if (!read_number(tw_view_trim(tw_view_of(before), blanks), &from) ||
        !read_number(tw_view_trim(tw_view_of(after), blanks), &to))
        return true;
    return setting->danger == DANGER_LOWER ? to < from : to == 0 && from != 0;
}
