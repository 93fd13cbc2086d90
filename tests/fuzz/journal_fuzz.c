/* Feeds journal_parse() files. What it takes must name only settings that may be changed, and come
 * back the same when it is written and read again. */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal_file.h"

static void check(bool condition)
{
    if (!condition)
        abort();
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_same(const struct journal *a, const struct journal *b)
{
    check(journal_era_same(&a->era, &b->era) && a->count == b->count && a->keeps == b->keeps);
    check(keep_file_same(&a->former, &b->former) && keep_file_same(&a->applied, &b->applied) &&
          keep_file_same(&a->earlier, &b->earlier));
    for (size_t i = 0; i < a->count; i++) {
        const struct journal_item *x = &a->items[i], *y = &b->items[i];

        check(x->setting == y->setting && x->setting->kind != SETTING_LIMIT);
        check(same_text(x->former, y->former) && same_text(x->applied, y->applied) &&
              same_text(x->earlier, y->earlier));
        check(journal_value_ok(x->former) && journal_value_ok(x->applied));
    }
}

static void check_place(const struct keep_file *file, const struct journal_place *place)
{
    struct keep_file written;
    struct journal journal, again;
    struct tw_error error = {0};
    int rc = journal_parse(file, place, "tune.json", &journal, &error);

    check(rc == 0 || (rc == -EBADMSG && error.code == EBADMSG && error.text[0]));
    check(rc == 0 || (journal.count == 0 && !journal.items));
    if (rc)
        return;
    check(journal_format(&journal, place, &written) == 0);
    check(journal_parse(&written, place, "tune.json", &again, NULL) == 0);
    check_same(&journal, &again);
    keep_file_fini(&written);
    journal_fini(&journal);
    journal_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keep_file file = {.exists = true, .bytes = malloc(size + 1), .len = size};

    check(file.bytes);
    memcpy(file.bytes, data, size);
    file.bytes[size] = 0;
    check_place(&file, &(struct journal_place){.root = "", .netns = NULL});
    check_place(&file, &(struct journal_place){.root = "", .netns = "blue"});
    keep_file_fini(&file);
    return 0;
}
