#include "lint_read.h"

#include <ctype.h>
#include <strings.h>

static const char *const trees[] = {"net", "fs", "vm", "kernel", "user", "kern", "dev"};

#define LONG_LINE ((size_t)4096)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'' || c == '`';
}

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-' || c == '/' || c == '*';
}

static struct tw_view part(struct tw_view view, size_t from, size_t to)
{
    return (struct tw_view){view.data + from, to - from};
}

static struct tw_view trim(struct tw_view view)
{
    return tw_view_trim(view, " \t\r\v\f");
}

static struct tw_view trim_quotes(struct tw_view view)
{
    return trim(tw_view_trim(trim(view), "\"'`"));
}

/* Whether `text` stands at `at`, whatever its case. */
static bool stands(struct tw_view line, size_t at, const char *text)
{
    size_t len = strlen(text);

    return at <= line.len && line.len - at >= len && strncasecmp(line.data + at, text, len) == 0;
}

/* Likewise, as a word of its own. */
static bool stands_word(struct tw_view line, size_t at, const char *text)
{
    size_t end = at + strlen(text);

    return stands(line, at, text) &&
           (end == line.len || !(isalnum((unsigned char)line.data[end]) || line.data[end] == '_'));
}

static bool begins_word(struct tw_view line, size_t at)
{
    return at == 0 || strchr(" \t\"'`{(,;|&>=:-[", line.data[at - 1]);
}

static size_t skip_blanks(struct tw_view line, size_t at)
{
    while (at < line.len && is_blank(line.data[at]))
        at++;
    return at;
}

static size_t end_of_word(struct tw_view line, size_t at)
{
    while (at < line.len && !is_blank(line.data[at]) && !strchr(";&|,)}]>\"'`", line.data[at]))
        at++;
    return at;
}

static struct tw_view word_at(struct tw_view line, size_t at)
{
    at = skip_blanks(line, at);
    return part(line, at, end_of_word(line, at));
}

/* Where `text` stands first as a word, from `at` on; line.len: nowhere. */
static size_t find_word(struct tw_view line, size_t at, const char *text)
{
    while (at < line.len && !(begins_word(line, at) && stands_word(line, at, text)))
        at++;
    return at;
}

bool lint_read_line(struct lint_reader *reader, struct tw_view line)
{
    line = trim(line);
    if (line.len && line.data[line.len - 1] == '\\') {
        line.len--;
        line = trim(line);
    }
    if (!line.len || line.data[0] == '#' || line.data[0] == ';' || stands(line, 0, "//"))
        return false;
    if (stands(line, 0, "- "))
        reader->pending = (struct tw_view){0};
    reader->line = line;
    reader->at = 0;
    return true;
}

/* --- names of sysctl -------------------------------------------------------------------------- */

/* The end of a name of sysctl that begins at `at`; `at` itself when there is none. */
static size_t name_end(struct tw_view line, size_t at)
{
    size_t end = at;

    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
        size_t len = strlen(trees[i]);

        if (line.len - at > len + 1 && memcmp(line.data + at, trees[i], len) == 0 &&
            (line.data[at + len] == '.' || line.data[at + len] == '/'))
            end = at + len;
    }
    if (end == at || !isalnum((unsigned char)line.data[end + 1]))
        return at;
    while (end < line.len && is_name(line.data[end]))
        end++;
    return end;
}

/* --- echo N > /proc/sys/.. -------------------------------------------------------------------- */

static size_t command_begin(struct tw_view line, size_t at)
{
    while (at > 0 && line.data[at - 1] != ';' && !(at > 1 && stands(line, at - 2, "&&")))
        at--;
    return at;
}

static size_t behind_echo(struct tw_view line, size_t from, size_t to)
{
    static const char *const words[] = {"echo", "printf"};
    struct tw_view command = part(line, 0, to);

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t at = find_word(command, from, words[i]);

        if (at == command.len)
            continue;
        at = skip_blanks(command, at + strlen(words[i]));
        while (stands(command, at, "-n") || stands(command, at, "-e"))
            at = skip_blanks(command, at + 2);
        return at;
    }
    return to;
}

/* The path begins at `at`; what is echoed to it is the value. */
static bool read_proc(struct lint_reader *reader, size_t at, struct lint_item *out)
{
    static const char *const roots[] = {"/proc/sys/", "/sys/module/nf_conntrack/parameters/"};
    struct tw_view line = reader->line;
    size_t begin = command_begin(line, at), value = behind_echo(line, begin, at), end = value;
    size_t name = at;

    for (size_t i = 0; name == at && i < sizeof(roots) / sizeof(roots[0]); i++)
        if (stands(line, at, roots[i]))
            name += strlen(roots[i]);
    if (name == at || value == at)
        return false;
    while (end < at && line.data[end] != '>' && line.data[end] != '|')
        end++;
    if (end == at)
        return false;
    reader->at = name;
    while (reader->at < line.len && is_name(line.data[reader->at]))
        reader->at++;
    out->name = part(line, name, reader->at);
    out->kind = LINT_SYSCTL;
    if (!stands(line, at, roots[0])) {
        out->kind = LINT_FILES;
        out->name = tw_view_of(LINT_HASHSIZE);
    }
    out->value = trim_quotes(part(line, value, end));
    if (out->value.len > 1 && stands(out->value, out->value.len - 2, "\\n"))
        out->value.len -= 2;
    return true;
}

/* --- descriptors ------------------------------------------------------------------------------ */

/* ulimit -n 65535, ulimit -SHn 65535. */
static bool read_ulimit(struct lint_reader *reader, size_t at, struct lint_item *out)
{
    struct tw_view line = reader->line, word;
    bool files = false;

    at += strlen("ulimit");
    for (word = word_at(line, at); word.len > 1 && word.data[0] == '-'; word = word_at(line, at)) {
        files = files || memchr(word.data, 'n', word.len);
        at = (size_t)(word.data + word.len - line.data);
    }
    reader->at = (size_t)(word.data + word.len - line.data);
    out->kind = LINT_FILES;
    out->name = tw_view_of(LINT_ULIMIT);
    out->value = word;
    return files && word.len;
}

/* "* soft nofile 65535", "--ulimit nofile=65535:65535". */
static bool read_nofile(struct lint_reader *reader, size_t at, struct lint_item *out)
{
    struct tw_view line = reader->line;
    struct tw_view before = trim(part(line, 0, at));
    bool domain = before.len > 1 && before.data[before.len - 1] == '-' &&
                  is_blank(before.data[before.len - 2]);

    domain = domain || (before.len > 4 && (stands(before, before.len - 4, "soft") ||
                                           stands(before, before.len - 4, "hard")));
    at += strlen("nofile");
    out->kind = LINT_FILES;
    if (at < line.len && line.data[at] == '=') {
        out->name = tw_view_of(LINT_CONTAINER);
        at++;
    } else if (domain && at < line.len && is_blank(line.data[at])) {
        out->name = tw_view_of(LINT_PAM);
    } else {
        return false;
    }
    out->value = word_at(line, at);
    reader->at = (size_t)(out->value.data + out->value.len - line.data);
    return out->value.len > 0;
}

/* NAME=N or NAME N. */
static bool read_assigned(struct lint_reader *reader, size_t at, const char *name,
                          struct lint_item *out)
{
    struct tw_view line = reader->line;

    at = skip_blanks(line, at);
    if (at < line.len && (line.data[at] == '=' || line.data[at] == ':'))
        at++;
    out->kind = LINT_FILES;
    out->name = tw_view_of(name);
    out->value = word_at(line, at);
    reader->at = (size_t)(out->value.data + out->value.len - line.data);
    return out->value.len > 0;
}

/* --- Windows ---------------------------------------------------------------------------------- */

static const char *const registry[] = {"MaxUserPort", "TcpTimedWaitDelay", "TcpNumConnections",
                                       "StrictTimeWaitSeqCheck", "MaxFreeTcbs"};

/* reg add .. /v NAME /t REG_DWORD /d N; "NAME"=dword:0000001e; -Name NAME -Value N; NAME = N. */
static bool read_registry(struct lint_reader *reader, size_t at, const char *name,
                          struct lint_item *out)
{
    static const char *const marks[] = {"/d", "-Value", "dword"};
    struct tw_view line = reader->line;

    at += strlen(name);
    out->kind = LINT_WINDOWS;
    out->name = tw_view_of(name);
    out->value = (struct tw_view){0};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        size_t mark = at;

        while (mark < line.len && !stands_word(line, mark, marks[i]))
            mark++;
        if (mark == line.len)
            continue;
        mark += strlen(marks[i]);
        out->value = word_at(line, mark + (mark < line.len && line.data[mark] == ':'));
        break;
    }
    while (!out->value.data && at < line.len && (is_quote(line.data[at]) || line.data[at] == '='))
        at++;
    if (!out->value.data)
        out->value = word_at(line, at);
    reader->at = line.len;
    return out->value.len > 0;
}

/* netsh int ipv4 set dynamicport tcp start=1025 num=64510; netsh .. set dynamicportrange .. */
static bool read_netsh(struct lint_reader *reader, size_t at, struct lint_item *out)
{
    struct tw_view line = reader->line;

    if (find_word(line, at, "set") == line.len)
        return false;
    while (at < line.len && !stands(line, at, "dynamicport"))
        at++;
    if (at == line.len)
        return false;
    out->kind = LINT_WINDOWS;
    out->name = tw_view_of(LINT_NETSH);
    out->value = trim(part(line, at, line.len));
    reader->at = line.len;
    return true;
}

/* --- sysctl ----------------------------------------------------------------------------------- */

static bool is_number_word(struct tw_view word)
{
    for (size_t i = 0; i < word.len; i++)
        if (!isdigit((unsigned char)word.data[i]))
            return false;
    return word.len > 0;
}

static struct tw_view without_comment(struct tw_view value)
{
    for (size_t i = 1; i < value.len; i++)
        if (value.data[i] == '#' && is_blank(value.data[i - 1]))
            value.len = i;
    return trim(value);
}

/* A list of keys within one line, as YAML has it: { name: NAME, value: VALUE }. */
static bool in_braces(struct tw_view line, size_t at)
{
    while (at > 0 && line.data[at - 1] != '{' && line.data[at - 1] != '}')
        at--;
    return at > 0 && line.data[at - 1] == '{' && (at < 2 || line.data[at - 2] != '$');
}

/* How far a value goes that stands at `at`: to its quote, to the end of a line of a file, of what
 * is echoed, or of a word. */
static struct tw_view value_at(struct tw_view line, size_t name, size_t at, size_t *end)
{
    char quote = at < line.len && is_quote(line.data[at])    ? line.data[at++]
                 : name > 0 && is_quote(line.data[name - 1]) ? line.data[name - 1]
                                                             : 0;
    size_t to = at;
    bool echoed = stands_word(line, 0, "echo") || stands_word(line, 0, "printf");

    if (quote) {
        while (to < line.len && line.data[to] != quote)
            to++;
        *end = to;
        return trim(part(line, at, to));
    }
    if (in_braces(line, name)) {
        while (to < line.len && line.data[to] != ',' && line.data[to] != '}')
            to++;
        *end = to;
        return trim(part(line, at, to));
    }
    if (name == 0 || (name == 1 && line.data[0] == '-') || (name == 2 && stands(line, 0, "- "))) {
        struct tw_view value = without_comment(part(line, at, line.len));

        while (value.len && strchr(",}", value.data[value.len - 1]))
            value.len--;
        *end = line.len;
        return trim(value);
    }
    while (echoed && to < line.len && line.data[to] != '>' && line.data[to] != '|')
        to++;
    *end = echoed ? to : end_of_word(line, at);
    return trim_quotes(part(line, at, *end));
}

/* A name whose value has a key of its own: "name: net.core.somaxconn". */
static bool is_named(struct tw_view line, size_t at)
{
    struct tw_view before = trim_quotes(part(line, 0, at));
    char last = before.len ? before.data[before.len - 1] : 0;

    return last == ':' || last == '=';
}

/* docker run --sysctl NAME=VALUE; podman and nerdctl have it too. */
static bool is_of_container(struct tw_view line, size_t at)
{
    static const char option[] = "--sysctl";
    size_t len = sizeof(option) - 1;

    while (at > 0 &&
           (is_blank(line.data[at - 1]) || is_quote(line.data[at - 1]) || line.data[at - 1] == '='))
        at--;
    return at >= len && stands(line, at - len, option);
}

/* The name stands from `at` to `end`. */
static bool read_sysctl(struct lint_reader *reader, size_t at, size_t end, struct lint_item *out)
{
    struct tw_view line = reader->line;
    size_t sign = end + (end < line.len && is_quote(line.data[end])), value;
    bool whole = at == 0 || (at == 1 && line.data[0] == '-');

    out->name = part(line, at, end);
    out->kind = LINT_SYSCTL;
    out->container = is_of_container(line, at);
    reader->at = end;
    sign = skip_blanks(line, sign);
    value = skip_blanks(line, sign + 1);
    if (sign < line.len &&
        (line.data[sign] == '=' ||
         (line.data[sign] == ':' &&
          (value > sign + 1 || (value < line.len && is_quote(line.data[value])))))) {
        out->value = value_at(line, at, value < line.len ? value : line.len, &reader->at);
        if (!whole && is_number_word(out->value) && reader->at < line.len &&
            is_blank(line.data[reader->at]) && is_number_word(word_at(line, reader->at)))
            out->flaw = LINT_UNQUOTED;
        return true;
    }
    if (is_named(line, at)) {
        reader->pending = out->name;
        return false;
    }
    out->value = trim(part(line, end, line.len));
    out->flaw = LINT_NO_EQUALS;
    return whole && is_number_word(word_at(line, end));
}

/* "value: 15" of the name before it. */
static bool read_value(struct lint_reader *reader, size_t at, struct lint_item *out)
{
    struct tw_view line = reader->line;

    at += strlen("value");
    at = skip_blanks(line, at + (at < line.len && is_quote(line.data[at])));
    if (at == line.len || (line.data[at] != ':' && line.data[at] != '='))
        return false;
    at = skip_blanks(line, at + 1);
    out->name = reader->pending;
    out->value = at < line.len ? value_at(line, reader->at, at, &reader->at) : (struct tw_view){0};
    out->kind = LINT_SYSCTL;
    reader->pending = (struct tw_view){0};
    return true;
}

/* What begins at `at`, the begin of a word. */
static bool read_at(struct lint_reader *reader, size_t at, struct lint_item *out)
{
    struct tw_view line = reader->line;
    size_t end = name_end(line, at);

    if (end > at)
        return read_sysctl(reader, at, end, out);
    if (line.data[at] == '/')
        return read_proc(reader, at, out);
    if (reader->pending.data && stands_word(line, at, "value"))
        return read_value(reader, at, out);
    if (stands_word(line, at, "ulimit"))
        return read_ulimit(reader, at, out);
    if (stands_word(line, at, "nofile"))
        return read_nofile(reader, at, out);
    if (stands(line, at, "LimitNOFILE="))
        return read_assigned(reader, at + strlen("LimitNOFILE"), LINT_UNIT, out);
    if (stands(line, at, "DefaultLimitNOFILE="))
        return read_assigned(reader, at + strlen("DefaultLimitNOFILE"), LINT_UNIT, out);
    if (stands_word(line, at, LINT_NGINX))
        return read_assigned(reader, at + strlen(LINT_NGINX), LINT_NGINX, out);
    if (stands(line, at, "hashsize=") && find_word(line, 0, "nf_conntrack") < line.len)
        return read_assigned(reader, at + strlen("hashsize"), LINT_HASHSIZE, out);
    if (stands_word(line, at, "netsh"))
        return read_netsh(reader, at, out);
    for (size_t i = 0; i < sizeof(registry) / sizeof(registry[0]); i++)
        if (stands_word(line, at, registry[i]))
            return read_registry(reader, at, registry[i], out);
    return false;
}

bool lint_read_item(struct lint_reader *reader, struct lint_item *out)
{
    struct tw_view line = reader->line;

    /* A long line is a list of ports, or nothing that a person wrote. */
    while (reader->at < (line.len > LONG_LINE ? 2 : line.len)) {
        size_t at = reader->at, end = name_end(line, at);

        *out = (struct lint_item){0};
        if (begins_word(line, at) && read_at(reader, at, out))
            return true;
        reader->at = end > at ? end : at + 1;
    }
    return false;
}
