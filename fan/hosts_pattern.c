#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hosts.h"

#define NAME_MAX_LEN 253 /* of a name in DNS */
#define BRACKETS_MAX 8
#define DIGITS_MAX   9

/* One element of a bracket: numbers, letters, or a word as it is. */
struct element {
    uint64_t first, last, step;
    int width; /* leading zeros up to this; 0: none */
    bool letters;
    struct tw_view word; /* when data is set */
};

/* A pattern on its way: what stands before `rest` is in name. */
struct expansion {
    struct hosts *hosts;
    struct tw_view user, pattern;
    uint16_t port;
    char name[NAME_MAX_LEN + 1];
    struct tw_error *error;
};

static int refuse(const struct expansion *e, const char *why)
{
    return tw_error_set(e->error, EINVAL, "host '%.*s': %s",
                        (int)(e->pattern.len < 80 ? e->pattern.len : 80), e->pattern.data, why);
}

static bool is_number(struct tw_view text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!isdigit((unsigned char)text.data[i]))
            return false;
    return text.len > 0;
}

static bool is_letter(struct tw_view text)
{
    return text.len == 1 && isalpha((unsigned char)text.data[0]);
}

static bool is_word(struct tw_view text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!isalnum((unsigned char)text.data[i]) && text.data[i] != '_')
            return false;
    return text.len > 0;
}

/* Digits only, DIGITS_MAX at most. */
static uint64_t number_of(struct tw_view text)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text.len; i++)
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    return value;
}

static int parse_numbers(const struct expansion *e, struct tw_view first, struct tw_view last,
                         struct element *out)
{
    if (first.len > DIGITS_MAX || last.len > DIGITS_MAX)
        return refuse(e, "a number of a range has more than 9 digits");
    out->first = number_of(first);
    out->last = number_of(last);
    if (first.len > 1 && first.data[0] == '0')
        out->width = (int)first.len;
    if (last.len > 1 && last.data[0] == '0' && (int)last.len != out->width)
        return refuse(e, "the ends of a range have different numbers of leading zeros");
    return 0;
}

/* 7, 01-40, 1-9/2, a, a-f, abc */
static int parse_element(const struct expansion *e, struct tw_view text, struct element *out)
{
    struct tw_view step = text, range = tw_view_cut(&step, '/'), last = range,
                   first = tw_view_cut(&last, '-');
    int rc;

    *out = (struct element){.step = 1};
    if (text.len == 0)
        return refuse(e, "a bracket has an empty element");
    if (!last.data) {
        if (step.data)
            return refuse(e, "a step needs a range, such as 1-9/2");
        if (is_number(first))
            return parse_numbers(e, first, first, out);
        out->word = first;
        return is_word(first) ? 0 : refuse(e, "a bracket holds numbers, letters and ranges only");
    }
    if (step.data) {
        if (!is_number(step) || step.len > DIGITS_MAX || number_of(step) == 0)
            return refuse(e, "the step behind the / is no number above 0");
        out->step = number_of(step);
    }
    if (is_number(first) && is_number(last)) {
        if ((rc = parse_numbers(e, first, last, out)))
            return rc;
    } else if (is_letter(first) && is_letter(last) &&
               islower((unsigned char)*first.data) == islower((unsigned char)*last.data)) {
        out->letters = true;
        out->first = (unsigned char)*first.data;
        out->last = (unsigned char)*last.data;
    } else {
        return refuse(e, "a range is of numbers or of single letters, such as 01-40 or a-f");
    }
    return out->first <= out->last ? 0 : refuse(e, "a range goes downwards");
}

static uint64_t size_of(const struct element *element)
{
    return 1 + (element->last - element->first) / element->step;
}

/* Cuts off the text before the next bracket, and what is in the bracket (data NULL: none). */
static int cut_bracket(const struct expansion *e, struct tw_view *rest, struct tw_view *text,
                       struct tw_view *inside)
{
    bool opened = memchr(rest->data, '[', rest->len) != NULL;

    *inside = (struct tw_view){NULL, 0};
    *text = tw_view_cut(rest, '[');
    if (memchr(text->data, ']', text->len))
        return refuse(e, "a ] without a [");
    if (!opened)
        return 0;
    if (!rest->data || !memchr(rest->data, ']', rest->len))
        return refuse(e, "a [ without a ]");
    *inside = tw_view_cut(rest, ']');
    if (memchr(inside->data, '[', inside->len))
        return refuse(e, "a bracket inside of a bracket");
    return 0;
}

static bool is_of_name(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

/* Looks at the whole pattern before anything is made of it: is it right, and how many is it? */
static int check(const struct expansion *e)
{
    struct tw_view rest = e->pattern, text, inside;
    uint64_t product = 1;
    int brackets = 0, rc;

    while (rest.data) {
        uint64_t sum = 0;

        if ((rc = cut_bracket(e, &rest, &text, &inside)))
            return rc;
        for (size_t i = 0; i < text.len; i++)
            if (!is_of_name(text.data[i]))
                return refuse(e, "a name has letters, digits and . _ - only");
        if (!inside.data)
            break;
        if (++brackets > BRACKETS_MAX)
            return refuse(e, "more than 8 brackets");
        while (inside.data) {
            struct element element;

            if ((rc = parse_element(e, tw_view_cut(&inside, ','), &element)))
                return rc;
            sum += element.word.data ? 1 : size_of(&element);
        }
        product *= sum;
        if (sum > HOSTS_MAX || product > HOSTS_MAX)
            return tw_error_set(e->error, ERANGE, "host '%.*s': these are more than %d hosts",
                                (int)(e->pattern.len < 80 ? e->pattern.len : 80), e->pattern.data,
                                HOSTS_MAX);
    }
    return 0;
}

static int append(struct expansion *e, size_t *len, const char *text, size_t text_len)
{
    if (*len + text_len > NAME_MAX_LEN)
        return refuse(e, "the name is longer than 253 characters");
    memcpy(e->name + *len, text, text_len);
    *len += text_len;
    return 0;
}

static int keep(struct expansion *e, size_t len)
{
    if (len == 0)
        return refuse(e, "there is no name");
    /* What begins with a dash would be an option of ssh; . and .. would be folders. */
    if (e->name[0] == '-' || e->name[0] == '.')
        return refuse(e, "a name cannot begin with a dash or a dot");
    return hosts_keep(e->hosts, e->user, (struct tw_view){e->name, len}, e->port, e->error);
}

/* At most BRACKETS_MAX deep.
 * NOLINTNEXTLINE(misc-no-recursion) */
static int expand(struct expansion *e, struct tw_view rest, size_t len)
{
    struct tw_view text, inside;
    int rc = cut_bracket(e, &rest, &text, &inside);

    if (rc || (rc = append(e, &len, text.data, text.len)))
        return rc;
    if (!inside.data)
        return keep(e, len);
    while (inside.data) {
        struct element element;

        if ((rc = parse_element(e, tw_view_cut(&inside, ','), &element)))
            return rc;
        for (uint64_t value = element.first; value <= element.last; value += element.step) {
            char number[24];
            size_t to = len;
            int digits = snprintf(number, sizeof(number), "%0*llu", element.width,
                                  (unsigned long long)value);

            if (element.letters) {
                number[0] = (char)value;
                digits = 1;
            }
            rc = element.word.data ? append(e, &to, element.word.data, element.word.len)
                                   : append(e, &to, number, (size_t)digits);
            if (rc || (rc = expand(e, rest, to)))
                return rc;
        }
    }
    return 0;
}

int hosts_expand(struct hosts *hosts, struct tw_view user, struct tw_view pattern, uint16_t port,
                 struct tw_error *error)
{
    struct expansion e = {
        .hosts = hosts, .user = user, .pattern = pattern, .port = port, .error = error};
    int rc = check(&e);

    return rc ? rc : expand(&e, pattern, 0);
}
