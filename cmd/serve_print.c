#include "serve_print.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "tidewait/verdict.h"
#include "verdict.h"

/* --- why not --- */

void serve_print_refusal(const struct tw_endpoint *endpoint, int code, bool color, FILE *out)
{
    struct tw_question question = {
        .op = TW_OP_BIND,
        .protocol = IPPROTO_TCP,
        .local = *endpoint,
        .reuseaddr = true,
        .v6only = true,
    };
    char text[TW_ENDPOINT_TEXT_MAX];
    struct tw_verdict *verdict = NULL;

    fprintf(out, "tidewait serve: cannot listen on %s: %s\n", tw_endpoint_format(endpoint, text),
            strerror(code));
    if (code == EMFILE || code == ENFILE) {
        fprintf(out, "  each agent takes one descriptor for each worker\n"
                     "  try: fewer agents, --workers 1, or a higher 'ulimit -n'\n");
        return;
    }
    verdict = tw_verdict_new(&question, NULL);
    if (verdict && verdict->code)
        report_verdict(verdict, true, color, out);
    else
        fprintf(out, "It is free again now.\n");
    tw_verdict_free(verdict);
    fprintf(out, "  or: another port; --next-free for the next free port; --skip-busy to go on "
                 "without it\n");
}

/* --- the live line --- */

static uint64_t errors(const struct agent_counts *counts)
{
    return counts->replies_400 + counts->incomplete + counts->no_files + counts->accept_errors +
           counts->other_errors;
}

void serve_print_live(const struct agent_counts *now, const struct agent_counts *before,
                      double at_s, double seconds, bool repaint, bool color, FILE *out)
{
    uint64_t failed = errors(now);
    bool red = color && failed > 0;
    uint64_t bytes = now->bytes_in + now->bytes_out - before->bytes_in - before->bytes_out;

    fprintf(out,
            "%s%6.0f s  open %llu  accepted %.0f/s  requests %.0f/s  %.1f MB/s  %serrors %llu%s%s",
            repaint ? "\r\033[K" : "", at_s, (unsigned long long)now->open,
            (double)(now->accepted - before->accepted) / seconds,
            (double)(now->requests - before->requests) / seconds, (double)bytes / seconds / 1e6,
            red ? "\033[31m" : "", (unsigned long long)failed, red ? "\033[0m" : "",
            repaint ? "" : "\n");
    fflush(out);
}

/* --- the totals --- */

static double us_per_connection(const struct serve_totals *totals)
{
    return (totals->user_s + totals->system_s) * 1e6 / (double)totals->counts.accepted;
}

#define U(field) ((unsigned long long)totals->counts.field)

void serve_print_totals(const struct serve_totals *totals, FILE *out)
{
    double seconds = totals->duration_s > 0 ? totals->duration_s : 1;

    fprintf(out, "%zu agent%s, %u worker%s, %.1f s\n", totals->agents,
            totals->agents == 1 ? "" : "s", totals->workers, totals->workers == 1 ? "" : "s",
            totals->duration_s);
    fprintf(out, "connections  %llu accepted (%.1f/s)\n", U(accepted),
            (double)totals->counts.accepted / seconds);
    fprintf(out, "requests     %llu (%.1f/s); replies: 200 %llu, 400 %llu\n", U(requests),
            (double)totals->counts.requests / seconds, U(replies_200), U(replies_400));
    fprintf(out, "bytes        in %llu, out %llu (%.1f MB/s)\n", U(bytes_in), U(bytes_out),
            (double)(totals->counts.bytes_in + totals->counts.bytes_out) / seconds / 1e6);
    fprintf(out, "closed by    client %llu, server %llu, our reset %llu, the peer's reset %llu\n",
            U(closed_client), U(closed_server), U(closed_reset_by_us), U(closed_reset_by_peer));
    fprintf(out, "timeouts     idle %llu, linger %llu\n", U(timeouts_idle), U(timeouts_linger));
    fprintf(out,
            "errors       malformed %llu, incomplete %llu, no descriptor %llu, accept %llu, "
            "other %llu\n",
            U(replies_400), U(incomplete), U(no_files), U(accept_errors), U(other_errors));
    fprintf(out, "CPU          user %.2f s, system %.2f s", totals->user_s, totals->system_s);
    if (totals->counts.accepted)
        fprintf(out, ", %.1f us a connection", us_per_connection(totals));
    fputc('\n', out);
}

#define I(field) ((json_int_t)totals->counts.field)

int serve_print_json(const struct serve_totals *totals, FILE *out)
{
    json_t *us = totals->counts.accepted ? json_real(us_per_connection(totals)) : json_null();
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:f, s:I, s:I, s:{s:I, s:I}, s:I, s:I, s:{s:I, s:I, s:I, s:I},"
        " s:{s:I, s:I}, s:I, s:{s:I, s:I, s:I, s:I}, s:{s:f, s:f, s:o}}",
        "schema", "tidewait.serve/1", "agents", (json_int_t)totals->agents, "workers",
        (json_int_t)totals->workers, "duration_s", totals->duration_s, "accepted", I(accepted),
        "requests", I(requests), "replies_by_status", "200", I(replies_200), "400", I(replies_400),
        "bytes_in", I(bytes_in), "bytes_out", I(bytes_out), "closed_by", "client", I(closed_client),
        "server", I(closed_server), "reset_by_us", I(closed_reset_by_us), "reset_by_peer",
        I(closed_reset_by_peer), "timeouts", "idle", I(timeouts_idle), "linger", I(timeouts_linger),
        "malformed", I(replies_400), "errors", "incomplete", I(incomplete), "no_files", I(no_files),
        "accept", I(accept_errors), "other", I(other_errors), "cpu", "user_s", totals->user_s,
        "system_s", totals->system_s, "us_per_connection", us);
    int rc = object ? 0 : -ENOMEM;

    if (object && (json_dumpf(object, out, JSON_REAL_PRECISION(9)) || fputc('\n', out) == EOF))
        rc = -EIO;
    json_decref(object);
    return rc;
}
