#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "owner.h"
#include "parts.h"

#include "tidewait/unix_sockets.h"

struct unix_case {
    struct sockaddr_un address;
    socklen_t address_len;
    bool is_abstract;
    bool exists; /* a file is at the path */
    struct stat file;
    bool found; /* a socket of this network namespace is bound to it */
    struct tw_unix_row row;
};

static int set_address(const char *path, struct unix_case *name, struct tw_error *error)
{
    size_t len = strlen(path);

    if (len >= sizeof(name->address.sun_path))
        return tw_error_set(error, EINVAL,
                            "the path '%.40s...' has %zu bytes; a Unix socket's "
                            "path has 107 at most",
                            path, len);
    name->address.sun_family = AF_UNIX;
    memcpy(name->address.sun_path, path, len);
    name->is_abstract = path[0] == '@';
    if (name->is_abstract)
        name->address.sun_path[0] = 0;
    name->address_len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !name->is_abstract);
    return 0;
}

/* By the file where there is one: a path may be relative, or lead through links. */
static bool is_wanted(const struct unix_case *name, const struct tw_unix_row *row)
{
    size_t len = name->address_len - offsetof(struct sockaddr_un, sun_path) - !name->is_abstract;

    if (!row->path_len)
        return false;
    if (name->exists && row->file_inode == name->file.st_ino &&
        row->file_device == (major(name->file.st_dev) << 20 | minor(name->file.st_dev)))
        return true;
    /* A socket whose file was removed or replaced still bears the path, but does not block it. */
    if (!name->is_abstract && row->file_inode)
        return false;
    return row->path_len == len && memcmp(row->path, name->address.sun_path, len) == 0;
}

static int consider(const struct tw_unix_row *row, void *context)
{
    struct unix_case *name = context;

    if (!is_wanted(name, row))
        return 0;
    /* Connections that were accepted bear the listener's path as well. */
    if (!name->found || row->state == TCP_LISTEN)
        name->row = *row;
    name->found = true;
    return row->state == TCP_LISTEN;
}

/* Whether a socket is bound to the file, in whatever network namespace. A datagram socket cannot
 * connect to a stream socket, and the kernel says so before it touches the other: the server
 * notices nothing. */
static enum tw_known is_alive(const struct unix_case *name)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), code;

    if (fd < 0)
        return TW_UNKNOWN;
    code = connect(fd, (const struct sockaddr *)&name->address, name->address_len) ? errno : 0;
    close(fd);
    switch (code) {
    case 0:
    case EPROTOTYPE:
        return TW_YES;
    case ECONNREFUSED:
        return TW_NO;
    default:
        return TW_UNKNOWN;
    }
}

static void explain_live(struct draft *draft, const struct unix_case *name)
{
    const char *path = draft->verdict.question.path;
    struct tw_socket_row row = {.inode = name->row.inode, .uid = name->row.uid};
    struct tw_holders holders = {0};
    struct owner owner = {OWNER_HIDDEN, "a socket of another network namespace", NULL};

    draft_answer(draft, TW_ANSWER_IN_USE, EADDRINUSE, "unix-live");
    if (name->found) {
        tw_holders_find(&row.inode, 1, TW_HOLDERS_AUTO, &holders, NULL);
        owner = owner_find(draft, &row, path, &holders);
        tw_holders_fini(&holders);
        if (owner.kind == OWNER_SYSTEMD)
            draft->verdict.cause = "systemd-socket";
    }
    draft_summary(draft, "%s %s %s.", owner.name,
                  name->row.state == TCP_LISTEN ? "listens on" : "has bound", path);
    draft_evidence(draft, "socket", "Unix %s %s, inode %u, %s",
                   name->row.type == SOCK_DGRAM ? "datagram" : "stream", path, name->row.inode,
                   draft_user(draft, name->row.uid));
    /* The file outlives its server. */
    owner_remedies(draft, &owner, draft_text(draft, "unix:%s", path), "",
                   name->is_abstract ? "" : draft_text(draft, " && rm -f '%s'", path));
}

static void explain_stale(struct draft *draft, const struct unix_case *name, enum tw_known alive)
{
    const char *path = draft->verdict.question.path;

    draft_answer(draft, TW_ANSWER_IN_USE, EADDRINUSE, "unix-stale");
    if (S_ISSOCK(name->file.st_mode))
        draft_summary(draft, "%s is the file of a socket that is gone.", path);
    else
        draft_summary(draft, "%s exists and is not a socket.", path);
    draft_evidence(draft, "rule",
                   "bind() makes the file and refuses when there is one; nobody "
                   "removes it when the server ends");
    if (alive == TW_UNKNOWN && S_ISSOCK(name->file.st_mode))
        draft_hidden(draft, "whether a socket of another network namespace is bound to the file: "
                            "no right to connect to it");
    else if (S_ISSOCK(name->file.st_mode))
        draft_evidence(draft, "trial", "connect() to it: ECONNREFUSED, no socket is bound to it");
    draft_remedy(draft, "remove the file", draft_text(draft, "rm '%s'", path),
                 S_ISSOCK(name->file.st_mode) && alive == TW_NO,
                 "a server should unlink() its path before bind()");
}

/* An abstract name is tried: it leaves nothing behind. A path is not, bind() would make the file.
 */
static void try_name(struct draft *draft, const struct unix_case *name, int predicted)
{
    struct tw_verdict *verdict = &draft->verdict;
    int fd;

    if (!name->is_abstract || verdict->question.no_trial)
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    verdict->tried = true;
    verdict->trial_code =
        bind(fd, (const struct sockaddr *)&name->address, name->address_len) ? errno : 0;
    close(fd);
    verdict->disagrees = verdict->trial_code != predicted && !(draft->blind & TW_BLIND_UNIX);
    draft_evidence(draft, "trial", "bind(), tried just now: %s",
                   verdict->trial_code ? tw_errno_name(verdict->trial_code) : "it succeeded");
}

int verdict_unix(struct draft *draft, struct tw_error *error)
{
    const char *path = draft->verdict.question.path;
    struct unix_case name = {0};
    enum tw_known alive = TW_NO;
    enum tw_rules_unix outcome;
    int rc = set_address(path, &name, error);

    if (rc)
        return rc;
    name.exists = !name.is_abstract && lstat(path, &name.file) == 0;
    rc = tw_unix_sockets_each(false, consider, &name, &draft->blind, error);
    if (rc < 0)
        return rc;
    if (name.exists && !name.found)
        alive = is_alive(&name);
    outcome = tw_rules_unix(name.is_abstract, name.exists, S_ISSOCK(name.file.st_mode),
                            name.found || alive == TW_YES);
    try_name(draft, &name, outcome == TW_UNIX_FREE ? 0 : EADDRINUSE);
    switch (outcome) {
    case TW_UNIX_FREE:
        draft_answer(draft, TW_ANSWER_FREE, 0, NULL);
        draft_summary(draft, "%s is free.", path);
        break;
    case TW_UNIX_LIVE:
        explain_live(draft, &name);
        break;
    case TW_UNIX_STALE:
    case TW_UNIX_OTHER:
        explain_stale(draft, &name, alive);
        break;
    }
    return 0;
}
