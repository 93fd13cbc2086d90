/* One world: a program is run by the model and by the kernel, call by call. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "differential_parts.h"

/* Ports of a world: an even first one. They are used again when all others were. */
#define FIRST_PORT 2000
#define WINDOWS    7500

struct world {
    struct lab *lab;
    struct model model;
    struct kernel kernel;
    char *text; /* NULL: nobody reads it */
    size_t size, used;
    uint32_t calls;
    char difference[512];
};

static void __attribute__((format(printf, 2, 3))) tell(struct world *world, const char *format, ...)
{
    va_list args;
    int len;

    if (!world->text || world->used >= world->size)
        return;
    va_start(args, format);
    len = vsnprintf(world->text + world->used, world->size - world->used, format, args);
    va_end(args);
    world->used += len > 0 ? (size_t)len : 0;
}

static const char *code_name(int code)
{
    return code ? strerrorname_np(code) : "0";
}

/* What of an outcome is not as expected, into world->difference; true when something is. */
static bool differs(struct world *world, const struct op *op, const struct expectation *expected,
                    const struct outcome *outcome)
{
    char *text = world->difference;
    size_t size = sizeof(world->difference);
    unsigned port = (unsigned)(outcome->port - world->model.base);

    if (outcome->code != expected->code)
        snprintf(text, size, "model %s, kernel %s", code_name(expected->code),
                 code_name(outcome->code));
    else if (expected->code == 0 && expected->picks_port &&
             (port >= PORTS || !(expected->ports & 1u << port)))
        snprintf(text, size, "0, but the kernel chose port %u and the model does not allow it",
                 outcome->port);
    else if (expected->code == 0 && op->kind == OP_CONNECT && outcome->listener == NONE)
        snprintf(text, size, "0, but none of the expected listeners has the connection");
    else
        return false;
    return true;
}

static void count(struct world *world, const struct op *op, const struct expectation *expected)
{
    struct differential_result *result = world->lab->result;

    result->operations++;
    result->kinds[op->kind]++;
    result->refused += expected->code != 0;
    result->in_use += expected->code == EADDRINUSE || expected->code == EADDRNOTAVAIL;
    result->let_in += expected->let_in;
}

/* Returns 0, 1 for a difference, or -errno. */
static int step(struct world *world, const struct op *op, struct tw_error *error)
{
    struct model *model = &world->model;
    struct expectation expected;
    struct outcome outcome;
    char text[160];
    int rc;

    if (!model_expect(model, op, &expected))
        return 0;
    op_format(op, model->slots[op->slot].host, model->base, text, sizeof(text));
    rc = kernel_do(&world->kernel, model, op, &expected, &outcome, error);
    if (rc)
        return rc;
    count(world, op, &expected);
    world->calls++;
    tell(world, "%s -> ", text);
    if (differs(world, op, &expected, &outcome)) {
        tell(world, "%s\n", world->difference);
        return 1;
    }
    tell(world, "%s", code_name(outcome.code));
    if (outcome.code == 0 && expected.picks_port)
        tell(world, ", port %u", outcome.port);
    tell(world, "\n");
    model_apply(model, op, &expected, &outcome);
    rc =
        kernel_compare_touched(&world->kernel, model, world->difference, sizeof(world->difference));
    if (rc == 1)
        tell(world, "%s\n", world->difference);
    return rc;
}

static int compare(struct world *world, struct tw_error *error)
{
    int rc = kernel_compare_all(&world->kernel, &world->model, world->difference,
                                sizeof(world->difference), error);

    if (rc == 1)
        tell(world, "%s\n", world->difference);
    return rc;
}

/* connect() and bind() without a port choose from the world's window, on both hosts. */
static int set_ranges(struct world *world, struct tw_error *error)
{
    unsigned base = world->model.base;
    char text[32];
    int rc = 0;

    snprintf(text, sizeof(text), "%u %u", base, base + PORTS - 1);
    for (int host = 0; host < HOSTS && rc == 0; host++) {
        rc = net_enter(&world->lab->net, host, error);
        if (rc == 0)
            rc = net_set("ipv4/ip_local_port_range", text, error);
    }
    return rc;
}

/* Returns how many calls of the program it took to see a difference, 0, or -errno. */
static int play(struct world *world, const struct program *program, struct tw_error *error)
{
    int rc = set_ranges(world, error);

    for (size_t i = 0; i < program->count && rc == 0; i++) {
        rc = step(world, &program->ops[i], error);
        if (rc == 0 && (i == program->count / 2 || i + 1 == program->count))
            rc = compare(world, error);
        if (rc == 1)
            return (int)i + 1;
    }
    return rc;
}

int world_run(struct lab *lab, const struct program *program, char *text, size_t size,
              uint32_t *calls, struct tw_error *error)
{
    struct world world = {.lab = lab, .text = text, .size = size};
    uint16_t base = (uint16_t)(FIRST_PORT + lab->windows++ % WINDOWS * PORTS);
    int rc, cleared;

    world.kernel =
        (struct kernel){.net = &lab->net, .patience_ms = lab->patience_ms, .result = lab->result};
    for (int i = 0; i < SLOTS; i++)
        world.kernel.fds[i] = -1;
    model_init(&world.model, &lab->net, base, lab->opts->break_clause);
    rc = play(&world, program, error);
    cleared = kernel_clear(&world.kernel, error);
    if (calls)
        *calls = world.calls;
    return cleared ? cleared : rc;
}
