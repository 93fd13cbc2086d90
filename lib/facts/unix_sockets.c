#include "tidewait/unix_sockets.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../base/quote.h"
#include "diag.h"
#include "unix_text.h"

/* In the column of flags: the socket listens. */
#define FLAG_LISTENS 0x10000

/* In the column of states: connected, or on the way to be. */
enum { TEXT_CONNECTING = 2, TEXT_CONNECTED = 3 };

struct unix_listing {
    bool listening;
    tw_unix_visit *visit;
    void *context;
};

/* --- sock_diag
 * ----------------------------------------------------------------------------------- */

static void take_name(const struct nlattr *attr, struct tw_unix_row *row)
{
    const char *name = mnl_attr_get_payload(attr);
    size_t len = mnl_attr_get_payload_len(attr);

    /* A path may come with the NUL behind it; an abstract name has whatever bytes it has. */
    if (len && name[0] && !name[len - 1])
        len--;
    if (len > sizeof(row->path))
        len = sizeof(row->path);
    memcpy(row->path, name, len);
    row->path_len = (uint8_t)len;
}

static int take_attribute(const struct nlattr *attr, void *context)
{
    struct tw_unix_row *row = context;
    const void *data = mnl_attr_get_payload(attr);
    size_t len = mnl_attr_get_payload_len(attr);
    struct unix_diag_vfs vfs;
    struct unix_diag_rqlen queues;

    switch (mnl_attr_get_type(attr)) {
    case UNIX_DIAG_NAME:
        take_name(attr, row);
        break;
    case UNIX_DIAG_VFS:
        if (len >= sizeof(vfs)) {
            memcpy(&vfs, data, sizeof(vfs));
            row->file_device = vfs.udiag_vfs_dev;
            row->file_inode = vfs.udiag_vfs_ino;
        }
        break;
    case UNIX_DIAG_RQLEN:
        if (len >= sizeof(queues)) {
            memcpy(&queues, data, sizeof(queues));
            row->receive_queue = queues.udiag_rqueue;
            row->send_queue = queues.udiag_wqueue;
        }
        break;
    case UNIX_DIAG_PEER:
        if (len >= sizeof(uint32_t))
            row->peer_inode = mnl_attr_get_u32(attr);
        break;
    case UNIX_DIAG_UID:
        if (len >= sizeof(uint32_t))
            row->uid = mnl_attr_get_u32(attr);
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

static int visit_message(const struct nlmsghdr *message, void *context)
{
    const struct unix_diag_msg *diag = mnl_nlmsg_get_payload(message);
    const struct unix_listing *listing = context;
    struct tw_unix_row row;

    if (mnl_nlmsg_get_payload_len(message) < sizeof(*diag) ||
        (listing->listening && diag->udiag_state != TCP_LISTEN))
        return 0;
    row = (struct tw_unix_row){
        .type = diag->udiag_type, .state = diag->udiag_state, .inode = diag->udiag_ino};
    mnl_attr_parse(message, sizeof(*diag), take_attribute, &row);
    return listing->visit(&row, listing->context);
}

static int each_by_diag(struct diag *diag, struct unix_listing *listing)
{
    struct nlmsghdr *message = diag_begin(diag, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
    struct unix_diag_req *request = mnl_nlmsg_put_extra_header(message, sizeof(*request));

    request->sdiag_family = AF_UNIX;
    request->udiag_states = listing->listening ? 1u << TCP_LISTEN : ~0u;
    request->udiag_show =
        UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID;
    return diag_run(diag, visit_message, listing);
}

/* --- text
 * ---------------------------------------------------------------------------------------- */

/* The next word as a number; false when it is none. */
static bool number(struct tw_view *rest, int base, unsigned long *out)
{
    char text[24], *end;
    struct tw_view word;

    while (rest->len && rest->data[0] == ' ') {
        rest->data++;
        rest->len--;
    }
    word = tw_view_cut(rest, ' ');
    if (word.len == 0 || word.len >= sizeof(text))
        return false;
    memcpy(text, word.data, word.len);
    text[word.len] = 0;
    *out = strtoul(text, &end, base);
    return *end == 0;
}

static uint8_t state_of(unsigned long flags, unsigned long state)
{
    if (flags & FLAG_LISTENS)
        return TCP_LISTEN;
    return state == TEXT_CONNECTED || state == TEXT_CONNECTING ? TCP_ESTABLISHED : TCP_CLOSE;
}

int unix_text_parse(struct tw_view line, struct tw_unix_row *out, struct tw_error *error)
{
    unsigned long references, protocol, flags, type, state, inode;
    struct tw_view rest = line;
    struct tw_unix_row row = {.peer_inode = 0};

    tw_view_cut(&rest, ' '); /* the kernel's address, with a colon */
    if (!number(&rest, 16, &references) || !number(&rest, 16, &protocol) ||
        !number(&rest, 16, &flags) || !number(&rest, 16, &type) || type > SOCK_PACKET ||
        !number(&rest, 16, &state) || !number(&rest, 10, &inode) || inode > UINT32_MAX)
        return tw_error_set(error, EINVAL, "'%.*s' is not a line of /proc/net/unix", QUOTE(line));
    row.type = (uint8_t)type;
    row.state = state_of(flags, state);
    row.inode = (uint32_t)inode;
    row.path_len = (uint8_t)(rest.len < sizeof(row.path) ? rest.len : sizeof(row.path));
    if (rest.len)
        memcpy(row.path, rest.data, row.path_len);
    /* The kernel writes each NUL of an abstract name as @. The first is certain; others may be
     * real.
     */
    if (row.path_len && row.path[0] == '@')
        row.path[0] = 0;
    *out = row;
    return 0;
}

static int each_by_text(const struct unix_listing *listing, struct tw_error *error)
{
    static const char path[] = "/proc/thread-self/net/unix";
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int rc = 0;

    if (!file)
        return tw_error_set(error, errno, "listing Unix sockets: netlink is refused, and %s: %s",
                            path, strerror(errno));
    for (bool heading = true; rc == 0 && (len = getline(&line, &room, file)) >= 0;
         heading = false) {
        struct tw_view text = {line, (size_t)len - (line[len - 1] == '\n')};
        struct tw_unix_row row = {.inode = 0};

        /* The second half of a path with a newline in it is no row. */
        if (!heading && unix_text_parse(text, &row, NULL) == 0 &&
            (!listing->listening || row.state == TCP_LISTEN))
            rc = listing->visit(&row, listing->context);
    }
    if (rc == 0 && !feof(file))
        rc = tw_error_set(error, EIO, "listing Unix sockets: %s cannot be read", path);
    free(line);
    fclose(file);
    return rc;
}

int tw_unix_sockets_each(bool listening, tw_unix_visit *visit, void *context, unsigned *blind,
                         struct tw_error *error)
{
    struct unix_listing listing = {.listening = listening, .visit = visit, .context = context};
    struct diag diag;
    int rc = diag_open(&diag, "listing Unix sockets", "unix_diag (CONFIG_UNIX_DIAG)", error);

    if (diag_is_refused(rc)) {
        if (blind)
            *blind |= TW_BLIND_UNIX;
        return each_by_text(&listing, error);
    }
    if (rc)
        return rc;
    rc = each_by_diag(&diag, &listing);
    diag_close(&diag);
    return rc;
}
