/* The shortest program that still shows a difference: parts of it are left out, large ones first,
 * for as long as one is left. */
#include <string.h>

#include "differential_parts.h"

static void leave_out(const struct program *from, size_t at, size_t count, struct program *to)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        if (i < at || i >= at + count)
            to->ops[to->count++] = from->ops[i];
}

/* Leaves out what can be in pieces of this size. Returns 1 when something could be, 0, or -errno.
 */
static int drop_pieces(struct lab *lab, struct program *program, size_t piece, int tries,
                       struct tw_error *error)
{
    int dropped = 0;

    /* From the end: what was made last is used least. */
    for (size_t end = program->count; end > 0;) {
        size_t at = end > piece ? end - piece : 0;
        struct program shorter;
        int rc = 0;

        leave_out(program, at, end - at, &shorter);
        for (int i = 0; i < tries && rc == 0; i++)
            rc = world_run(lab, &shorter, NULL, 0, NULL, error);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            shorter.count = (size_t)rc;
            *program = shorter;
            dropped = 1;
        }
        end = at < program->count ? at : program->count;
    }
    return dropped;
}

int program_shrink(struct lab *lab, struct program *program, int tries, struct tw_error *error)
{
    size_t piece = program->count / 2;

    if (piece == 0)
        piece = 1;
    for (;;) {
        int rc = drop_pieces(lab, program, piece, tries, error);

        if (rc < 0)
            return rc;
        if (piece > 1)
            piece /= 2;
        else if (rc == 0)
            return 0;
    }
}
