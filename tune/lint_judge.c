#include "lint_judge.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "tidewait/text.h"

/* How much of a wrong value is quoted. */
#define QUOTED_MAX 40

#define QUOTED(view) (int)((view).len < QUOTED_MAX ? (view).len : QUOTED_MAX), (view).data

void lint_say(char *buf, size_t size, const char *format, ...)
{
    size_t used = strlen(buf);
    va_list args;

    va_start(args, format);
    tw_text_format(buf + used, size - used, format, args);
    va_end(args);
}

#define SAY(array, ...) lint_say(array, sizeof(array), __VA_ARGS__)

static void decide(struct lint_line *line, enum lint_verdict verdict, const char *reason,
                   const char *instead, const char *scenario)
{
    line->verdict = verdict;
    line->reason[0] = line->instead[0] = 0;
    SAY(line->reason, "%s", reason);
    if (instead)
        SAY(line->instead, "%s", instead);
    line->scenario = scenario;
}

bool lint_numbers(struct tw_view text, struct lint_numbers *out)
{
    size_t at = 0;

    out->count = 0;
    while (at < text.len) {
        size_t begin = at, sign = text.data[at] == '-' || text.data[at] == '+';
        uint64_t number;

        while (at < text.len && !strchr(" \t:", text.data[at]))
            at++;
        if (out->count == LINT_NUMBERS_MAX ||
            tw_parse_number((struct tw_view){text.data + begin + sign, at - begin - sign}, "", 0,
                            INT64_MAX, &number, NULL))
            return false;
        out->items[out->count++] =
            sign && text.data[begin] == '-' ? -(int64_t)number : (int64_t)number;
        while (at < text.len && strchr(" \t:", text.data[at]))
            at++;
    }
    return out->count > 0;
}

/* --- rules ------------------------------------------------------------------------------------ */

static bool is_about(const struct lint_rule *rule, const char *name)
{
    size_t len = strlen(rule->name);

    return rule->name[len - 1] == '*' ? strncmp(rule->name, name, len - 1) == 0
                                      : strcmp(rule->name, name) == 0;
}

static bool fits(const struct lint_rule *rule, const struct lint_numbers *numbers)
{
    int64_t number;

    if (rule->test == LINT_ANY)
        return true;
    if (rule->field >= numbers->count)
        return false;
    number = numbers->items[rule->field];
    return rule->test == LINT_IS      ? number == rule->than
           : rule->test == LINT_BELOW ? number < rule->than
                                      : number > rule->than;
}

static const struct lint_rule *first_rule(const char *name)
{
    const struct lint_rule *rule = lint_rules;

    while (rule->name && !is_about(rule, name))
        rule++;
    return rule->name ? rule : NULL;
}

static const struct lint_rule *fitting_rule(const struct lint_rule *rule, const char *name,
                                            const struct lint_numbers *numbers)
{
    while (rule && rule->name && !(is_about(rule, name) && fits(rule, numbers)))
        rule++;
    return rule && rule->name ? rule : NULL;
}

/* --- names ------------------------------------------------------------------------------------ */

/* Whether one character more, less or another, or two that have changed places, make one name of
 * the other. */
static bool is_slip(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);

    while (*a && *a == *b) {
        a++, b++;
        a_len--, b_len--;
    }
    while (a_len && b_len && a[a_len - 1] == b[b_len - 1])
        a_len--, b_len--;
    if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b))
        return false; /* ipv4 and ipv6 */
    return (a_len < 2 && b_len < 2) || (a_len == 2 && b_len == 2 && a[0] == b[1] && a[1] == b[0]);
}

/* The setting that was meant, when the name is one that no kernel has; NULL. */
static const char *meant(const char *name)
{
    for (const struct setting *setting = settings; setting->name; setting++)
        if (is_slip(name, setting->name))
            return setting->name;
    return NULL;
}

/* --- values ----------------------------------------------------------------------------------- */

static bool is_word(struct tw_view value, const char *word)
{
    return value.len == strlen(word) && strncasecmp(value.data, word, value.len) == 0;
}

/* A value that stands elsewhere: $PORTS, {{ ports }}, <ports>. */
static bool is_variable(struct tw_view value)
{
    return value.len > 1 && (strchr("$<%", value.data[0]) || memcmp(value.data, "{{", 2) == 0);
}

/* False when the kernel would refuse it. */
static bool check_value(const struct setting *setting, const struct lint_item *item,
                        const struct lint_numbers *numbers, struct lint_line *line)
{
    const struct lint_rule *rule = first_rule(line->name);
    struct tw_error error = {0};

    if (setting && setting->kind == SETTING_RANGE && numbers->count == 1) {
        decide(line, LINT_BAD,
               "One number sets the first port alone: the range then goes on to the last one that "
               "it has, 60999 by default.",
               "first and last port with a blank between them", setting->scenario);
        return false;
    }
    if (setting && setting_check(setting, item->value, &error)) {
        decide(line, LINT_BAD, "", NULL, NULL);
        SAY(line->reason, "That is no value of it: %s.", error.text);
        return false;
    }
    if (!setting && item->kind != LINT_WINDOWS && numbers->count == 0 && rule &&
        rule->verdict != LINT_FOREIGN) {
        decide(line, LINT_BAD, "", NULL, NULL);
        SAY(line->reason, "'%.*s' is no number.", QUOTED(item->value));
        return false;
    }
    return true;
}

static bool is_default(const struct setting *setting, struct tw_view value)
{
    char text[128];

    if (!setting || !setting->preset || value.len >= sizeof(text))
        return false;
    memcpy(text, value.data, value.len);
    text[value.len] = 0;
    return setting_equal(setting, text, setting->preset);
}

/* "unlimited" of descriptors. True when that was it. */
static bool judge_unlimited(const struct lint_item *item, struct lint_line *line)
{
    if (!is_word(item->value, "unlimited") && !is_word(item->value, "infinity") &&
        !is_word(item->value, "-1"))
        return false;
    if (strcmp(line->name, LINT_ULIMIT) == 0)
        decide(line, LINT_BAD,
               "The kernel knows no unlimited number of descriptors: more than fs.nr_open is "
               "refused, to root as well.",
               "a number, such as 65536", NULL);
    else if (strcmp(line->name, LINT_PAM) == 0)
        decide(line, LINT_RISKY,
               "The kernel refuses unlimited descriptors. New versions of pam_limits take "
               "fs.nr_open in its place; with old ones every login of these users fails.",
               "a number, such as 65536", NULL);
    else
        decide(line, LINT_RISKY,
               "It becomes fs.nr_open, which may be a thousand million: programs that go through "
               "all possible descriptors, or make room for them, hang or take all memory.",
               "a number, such as 65536", NULL);
    return true;
}

/* KEY=N within a line of netsh; -1: not there. */
static int64_t netsh_number(struct tw_view line, const char *key)
{
    size_t len = strlen(key);

    for (size_t at = 0; at + len < line.len; at++) {
        struct tw_view digits = {line.data + at + len, 0};
        uint64_t number;

        if (strncasecmp(line.data + at, key, len) != 0)
            continue;
        while (digits.data + digits.len < line.data + line.len &&
               isdigit((unsigned char)digits.data[digits.len]))
            digits.len++;
        if (tw_parse_number(digits, "", 0, 65535, &number, NULL) == 0)
            return (int64_t)number;
    }
    return -1;
}

static void judge_netsh(const struct lint_item *item, struct lint_line *line)
{
    int64_t start = netsh_number(item->value, "start=");
    int64_t count = netsh_number(item->value, "num=");

    if (start < 0)
        start = netsh_number(item->value, "startport=");
    if (count < 0)
        count = netsh_number(item->value, "numberofports=");
    if (start < 1025 || count < 255 || start + count - 1 > 65535)
        decide(line, LINT_BAD,
               "netsh wants start= from 1025 on, num= of 255 at least, and the last port, which is "
               "start + num - 1, not above 65535.",
               "netsh int ipv4 set dynamicport tcp start=32768 num=32768", NULL);
    else if (start < 32768)
        decide(
            line, LINT_RISKY,
            "The range of Windows begins at 49152 by itself. A service whose port lies in it may "
            "find it taken by a client when it starts.",
            "netsh int ipv4 add excludedportrange protocol=tcp for each port of a service",
            "folklore-wide-range");
    else
        decide(line, LINT_FINE, "The ports that Windows chooses from, since Vista and Server 2008.",
               NULL, NULL);
}

/* True when the way it is written decides. */
static bool judge_form(const struct lint_item *item, struct lint_line *line)
{
    if (item->flaw == LINT_NO_EQUALS)
        decide(line, LINT_BAD, "There is no '=' between name and value: the line is not read.",
               "NAME = VALUE", NULL);
    else if (item->flaw == LINT_UNQUOTED)
        decide(line, LINT_BAD,
               "The shell makes two words of the value: the first number is set alone, and the "
               "second is an error.",
               "quotes around NAME=VALUE", NULL);
    else if (!item->value.len && strcmp(line->name, "net.ipv4.ip_local_reserved_ports") != 0)
        decide(line, LINT_BAD, "There is no value.", NULL, NULL);
    else if (is_variable(item->value))
        decide(line, LINT_FOREIGN, "The value stands elsewhere.", NULL, NULL);
    else
        return false;
    return true;
}

/* Of what is not in the table, only what is certain. */
static bool is_of_host(const struct setting *setting, const char *name)
{
    return setting ? !setting->per_netns
                   : strncmp(name, "vm.", 3) == 0 ||
                         (strncmp(name, "fs.", 3) == 0 && strncmp(name, "fs.mqueue.", 10) != 0);
}

static void judge_unknown(struct lint_line *line)
{
    const char *name = meant(line->name);

    decide(line, LINT_FOREIGN, "", NULL, NULL);
    if (!name)
        return;
    decide(line, LINT_BAD, "No kernel has a setting of this name.", NULL, NULL);
    SAY(line->instead, "%s, if that is meant", name);
}

static void judge_known(const struct setting *setting, struct lint_line *line)
{
    struct tw_view rest = tw_view_of(setting->effect);

    decide(line, LINT_FINE, "", NULL, setting->scenario);
    while (rest.data) {
        struct tw_view part = tw_view_cut(&rest, '\n');

        SAY(line->reason, "%s%.*s", line->reason[0] ? " " : "", (int)part.len, part.data);
    }
}

void lint_judge(const struct lint_item *item, struct lint_line *line)
{
    const struct setting *setting =
        item->kind == LINT_SYSCTL ? setting_find(tw_view_of(line->name)) : NULL;
    const struct lint_rule *rule = first_rule(line->name);
    struct lint_numbers numbers = {.count = 0};

    if (rule && rule->verdict == LINT_GONE && rule->test == LINT_ANY) {
        decide(line, rule->verdict, rule->reason, rule->instead, rule->scenario);
        return;
    }
    if (item->container && is_of_host(setting, line->name)) {
        decide(line, LINT_BAD,
               "It belongs to the whole host, not to a container, which does not start with it.",
               "set it on the host", NULL);
        return;
    }
    if (!setting && !rule && strcmp(line->name, LINT_NETSH) != 0) {
        judge_unknown(line);
        return;
    }
    if (judge_form(item, line))
        return;
    if (item->kind == LINT_FILES && judge_unlimited(item, line))
        return;
    if (strcmp(line->name, LINT_NETSH) == 0) {
        judge_netsh(item, line);
        return;
    }
    if (!lint_numbers(item->value, &numbers))
        numbers.count = 0;
    if (!check_value(setting, item, &numbers, line))
        return;
    rule = fitting_rule(rule, line->name, &numbers);
    if (is_default(setting, item->value))
        decide(line, LINT_IDLE, "The kernel's default anyway.", NULL, NULL);
    else if (rule)
        decide(line, rule->verdict, rule->reason, rule->instead, rule->scenario);
    else if (setting)
        judge_known(setting, line);
    else
        decide(line, LINT_FOREIGN, "", NULL, NULL);
}
