#include "draft.h"

#include <errno.h>
#include <pwd.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/blind.h"
#include "tidewait/text.h"

struct draft_piece {
    struct draft_piece *next;
    alignas(max_align_t) char bytes[];
};

/* Memory that is freed with the verdict; NULL when there is none. */
static void *keep_bytes(struct draft *draft, size_t size)
{
    struct draft_piece *piece = malloc(sizeof(*piece) + size);

    if (!piece) {
        draft->no_memory = true;
        return NULL;
    }
    piece->next = draft->pieces;
    draft->pieces = piece;
    return piece->bytes;
}

static const char *keep(struct draft *draft, const char *format, va_list args)
{
    char *raw, *text;
    int len = vasprintf(&raw, format, args);
    size_t room;

    if (len < 0) {
        draft->no_memory = true;
        return "";
    }
    room = (size_t)len * 4;
    text = keep_bytes(draft, room + 1);
    /* Commands and paths may hold anything; a verdict must be harmless on a terminal. */
    if (text)
        text[tw_text_safe(text, room, raw, (size_t)len)] = 0;
    free(raw);
    return text ? text : "";
}

const char *draft_text(struct draft *draft, const char *format, ...)
{
    const char *text;
    va_list args;

    va_start(args, format);
    text = keep(draft, format, args);
    va_end(args);
    return text;
}

const char *draft_copy(struct draft *draft, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = keep_bytes(draft, size);

    return copy ? memcpy(copy, text, size) : "";
}

/* Room for one more element of `size` bytes behind `count`, zeroed. NULL when there is none. */
static void *grow(struct draft *draft, void **items, size_t *count, size_t size)
{
    void *more = realloc(*items, (*count + 1) * size);

    if (!more) {
        draft->no_memory = true;
        return NULL;
    }
    *items = more;
    return memset((char *)more + size * (*count)++, 0, size);
}

#define GROW(draft, list)                                                           \
    grow(draft, (void **)&(draft)->verdict.list##s, &(draft)->verdict.list##_count, \
         sizeof(*(draft)->verdict.list##s))

void draft_answer(struct draft *draft, enum tw_answer answer, int code, const char *cause)
{
    draft->verdict.answer = answer;
    draft->verdict.code = code;
    draft->verdict.cause = cause;
}

void draft_summary(struct draft *draft, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    draft->verdict.summary = keep(draft, format, args);
    va_end(args);
}

static struct tw_verdict_evidence *grow_evidence(struct draft *draft)
{
    return grow(draft, (void **)&draft->verdict.evidence, &draft->verdict.evidence_count,
                sizeof(*draft->verdict.evidence));
}

void draft_evidence(struct draft *draft, const char *kind, const char *format, ...)
{
    struct tw_verdict_evidence *item = grow_evidence(draft);
    va_list args;

    if (!item)
        return;
    item->kind = kind;
    va_start(args, format);
    item->text = keep(draft, format, args);
    va_end(args);
}

static const char *option_text(uint8_t known)
{
    return known == TW_YES ? "on" : known == TW_NO ? "off" : "not visible";
}

void draft_socket(struct draft *draft, const struct tw_socket_row *row)
{
    struct tw_verdict_evidence *item = grow_evidence(draft);
    char local[TW_ENDPOINT_TEXT_MAX], remote[TW_ENDPOINT_TEXT_MAX], expires[48] = "";
    bool connected = row->remote.sa.sa_family && tw_endpoint_port(&row->remote);
    struct tw_socket_row *copy = keep_bytes(draft, sizeof(*copy));

    if (!item || !copy)
        return;
    *copy = *row;
    item->kind = "socket";
    item->socket = copy;
    if (row->expires_ms)
        snprintf(expires, sizeof(expires), ", gone in %.1f s", row->expires_ms / 1e3);
    item->text = draft_text(
        draft, "%s %s %s%s%s%s; SO_REUSEADDR %s, SO_REUSEPORT %s%s",
        row->protocol == IPPROTO_UDP ? "UDP" : "TCP", tw_state_name(row->protocol, row->state),
        tw_endpoint_format(&row->local, local), connected ? " -> " : "",
        connected ? tw_endpoint_format(&row->remote, remote) : "", expires,
        option_text(row->reuseaddr), option_text(row->reuseport), row->mptcp ? "; MPTCP" : "");
}

bool draft_holder(struct draft *draft, const struct tw_verdict_holder *holder)
{
    struct tw_verdict_holder *item = GROW(draft, holder);

    if (item)
        *item = *holder;
    return item != NULL;
}

void draft_remedy(struct draft *draft, const char *what, const char *command, bool safe,
                  const char *why)
{
    struct tw_verdict_remedy *item =
        grow(draft, (void **)&draft->verdict.remedies, &draft->verdict.remedy_count, sizeof(*item));

    if (item)
        *item = (struct tw_verdict_remedy){what, command, safe, why};
}

void draft_hidden(struct draft *draft, const char *format, ...)
{
    const char **item =
        grow(draft, (void **)&draft->verdict.hidden, &draft->verdict.hidden_count, sizeof(*item));
    va_list args;

    if (!item)
        return;
    va_start(args, format);
    *item = keep(draft, format, args);
    va_end(args);
}

const char *draft_user(struct draft *draft, uint32_t uid)
{
    struct passwd entry, *found = NULL;
    char buf[1024];

    if (getpwuid_r(uid, &entry, buf, sizeof(buf), &found) == 0 && found)
        return draft_text(draft, "%s", found->pw_name);
    return draft_text(draft, "uid %u", uid);
}

struct tw_verdict *draft_finish(struct draft *draft, struct tw_error *error)
{
    for (unsigned i = 0; i < TW_BLIND_COUNT; i++)
        if (draft->blind & 1u << i)
            draft_hidden(draft, "%s", tw_blind_text((enum tw_blind)(1u << i)));
    if (!draft->verdict.summary)
        draft->verdict.summary = "";
    if (!draft->no_memory)
        return &draft->verdict;
    tw_error_set(error, ENOMEM, "no memory for the verdict");
    tw_verdict_free(&draft->verdict);
    return NULL;
}

void tw_verdict_free(struct tw_verdict *verdict)
{
    struct draft *draft = (struct draft *)verdict;

    if (!verdict)
        return;
    free(verdict->holders);
    free(verdict->evidence);
    free(verdict->remedies);
    free(verdict->hidden);
    while (draft->pieces) {
        struct draft_piece *next = draft->pieces->next;

        free(draft->pieces);
        draft->pieces = next;
    }
    free(draft);
}
