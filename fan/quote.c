#include "quote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_word(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", out);
        else
            fputc(*text, out);
    fputc('\'', out);
}

static char *finish(FILE *out, char **text)
{
    if (fclose(out) == 0)
        return *text;
    free(*text);
    return NULL;
}

char *quote_word(const char *text)
{
    char *word = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&word, &size);

    if (!out)
        return NULL;
    print_word(text, out);
    return finish(out, &word);
}

static bool begins(const char **text, const char *name)
{
    size_t len = strlen(name);

    if (strncmp(*text, name, len) != 0)
        return false;
    *text += len;
    return true;
}

char *quote_fill(const char *pattern, const struct host *host, const char *user,
                 const char *command)
{
    const char *named = host->user ? host->user : user;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    while (*pattern) {
        if (begins(&pattern, "{host}"))
            print_word(host->address, out);
        else if (begins(&pattern, "{user}"))
            print_word(named ? named : "", out);
        else if (host->port && begins(&pattern, "{port}"))
            fprintf(out, "%u", host->port);
        else if (begins(&pattern, "{port}"))
            print_word("", out);
        else if (command && begins(&pattern, "{command}"))
            print_word(command, out);
        else
            fputc(*pattern++, out);
    }
    return finish(out, &text);
}
