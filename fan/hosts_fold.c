#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hosts.h"

#define DIGITS_MAX 9

/* A label cut at the last number of its name. */
struct piece {
    const char *label;
    size_t before; /* the length of what stands before the number; of all of it without one */
    size_t digits; /* 0: no number */
    uint64_t value;
};

static void cut(const char *label, struct piece *piece)
{
    const char *colon = strchr(label, ':');
    size_t end = colon ? (size_t)(colon - label) : strlen(label), begin;

    *piece = (struct piece){.label = label, .before = strlen(label)};
    /* An IPv6 address: a bracket in it would be read as one of a range. */
    if (strchr(label, '['))
        return;
    while (end && label[end - 1] != '@' && !isdigit((unsigned char)label[end - 1]))
        end--;
    begin = end;
    while (begin && isdigit((unsigned char)label[begin - 1]) && end - begin < DIGITS_MAX)
        begin--;
    if (begin == end)
        return;
    piece->before = begin;
    piece->digits = end - begin;
    for (size_t i = begin; i < end; i++)
        piece->value = piece->value * 10 + (uint64_t)(label[i] - '0');
}

static const char *after(const struct piece *piece)
{
    return piece->label + piece->before + piece->digits;
}

/* Those that differ in the number alone stand together. */
static int compare_family(const struct piece *a, const struct piece *b)
{
    size_t least = a->before < b->before ? a->before : b->before;
    int order = memcmp(a->label, b->label, least);

    if (order == 0)
        order = (a->before > b->before) - (a->before < b->before);
    if (order == 0)
        order = strcmp(after(a), after(b));
    return order ? order : (a->digits > 0) - (b->digits > 0);
}

static int compare(const void *left, const void *right)
{
    const struct piece *a = left, *b = right;
    int order = compare_family(a, b);

    if (order == 0)
        order = (a->value > b->value) - (a->value < b->value);
    return order ? order : (a->digits > b->digits) - (a->digits < b->digits);
}

/* Whether b is what comes behind a in a range that begins with `first`. */
static bool follows(const struct piece *first, const struct piece *a, const struct piece *b)
{
    char text[24];
    bool zeros = first->digits > 1 && first->label[first->before] == '0';
    int width = zeros ? (int)first->digits : 0;
    int len = snprintf(text, sizeof(text), "%0*llu", width, (unsigned long long)b->value);

    return b->value == a->value + 1 && (size_t)len == b->digits &&
           memcmp(text, b->label + b->before, b->digits) == 0;
}

/* Prints the numbers of count pieces of one family. */
static void print_numbers(const struct piece *pieces, size_t count, FILE *out)
{
    for (size_t i = 0; i < count;) {
        const struct piece *first = &pieces[i];
        size_t last = i;

        while (last + 1 < count && follows(first, &pieces[last], &pieces[last + 1]))
            last++;
        fprintf(out, "%s%.*s", i ? "," : "", (int)first->digits, first->label + first->before);
        if (last > i)
            fprintf(out, "-%.*s", (int)pieces[last].digits,
                    pieces[last].label + pieces[last].before);
        i = last + 1;
    }
}

static void print_family(const struct piece *pieces, size_t count, FILE *out)
{
    if (count == 1 || pieces->digits == 0) {
        fputs(pieces->label, out);
        return;
    }
    fprintf(out, "%.*s[", (int)pieces->before, pieces->label);
    print_numbers(pieces, count, out);
    fprintf(out, "]%s", after(pieces));
}

char *hosts_fold(const char *const *labels, size_t count)
{
    struct piece *pieces = malloc((count ? count : 1) * sizeof(*pieces));
    char *text = NULL;
    size_t size = 0;
    FILE *out = pieces ? open_memstream(&text, &size) : NULL;

    for (size_t i = 0; pieces && i < count; i++)
        cut(labels[i], &pieces[i]);
    if (out && count)
        qsort(pieces, count, sizeof(*pieces), compare);
    for (size_t i = 0; out && i < count;) {
        size_t len = 1;

        while (i + len < count && pieces[i].digits &&
               compare_family(&pieces[i], &pieces[i + len]) == 0)
            len++;
        fputs(i ? "," : "", out);
        print_family(pieces + i, len, out);
        i += len;
    }
    free(pieces);
    if (out && fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}
