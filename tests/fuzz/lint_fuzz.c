/* Feeds lint() texts, the second line on as a second text. What it says must be whole, harmless,
 * add up, and name lines that there are. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "lint.h"
#include "tidewait/text.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

/* Ends within its room, and holds nothing that a terminal would obey. */
static void check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    uint32_t code = 0;

    check(len < size);
    while (len) {
        size_t taken = tw_text_take(text, len, &code);

        check(taken && tw_text_is_harmless(code));
        text += taken;
        len -= taken;
    }
}

static void check_line(const struct lint_report *report, const struct lint_line *line, size_t texts)
{
    check(line->from < texts && line->number >= 1);
    check(line->verdict < LINT_VERDICTS);
    check(!lint_is_complaint(line->verdict) || (line->reason[0] && line->name[0]));
    check(line->winner == SIZE_MAX || line->winner < report->count);
    check_text(line->text, sizeof(line->text));
    check_text(line->name, sizeof(line->name));
    check_text(line->reason, sizeof(line->reason));
    check_text(line->instead, sizeof(line->instead));
}

static bool even_ports(uint16_t port, void *context)
{
    (void)context;
    return port % 2 == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct lint_context context = {.service_on = even_ports};
    struct tw_view rest = {(const char *)data, size};
    struct lint_text texts[] = {{.name = "a", .text = tw_view_cut(&rest, '\n')},
                                {.name = "b", .text = rest}};
    struct lint_report report;
    size_t sum = 0;

    check(lint(texts, 2, size % 2 ? &context : NULL, &report) == 0);
    for (size_t i = 0; i < report.count; i++)
        check_line(&report, &report.lines[i], 2);
    for (size_t i = 0; i < LINT_VERDICTS; i++)
        sum += report.verdicts[i];
    check(sum == report.count);
    lint_fini(&report);
    return 0;
}
