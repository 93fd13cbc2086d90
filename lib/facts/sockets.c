#include "tidewait/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "diag.h"
#include "opened.h"
#include "sockets_query.h"
#include "sockets_text.h"
#include "tidewait/parse.h"

/* A pseudo-state of requests (Linux 6.8): sockets that are bound but neither listen nor connect.
 * Their rows bear TCP_CLOSE. Older kernels ignore the bit. Not in the headers of Debian 12. */
#define STATE_BOUND_INACTIVE 13

/* The value of idiag_timer that says that idiag_expires counts down a TIME_WAIT, or an orphan in
 * FIN_WAIT_2, which the kernel keeps in the same form. */
#define TIMER_TIME_WAIT 3

/* Room for the file that counts the sockets of each protocol: some 20 lines of 110 bytes. */
#define PROTOCOLS_BYTES 16384

static bool kernel_before(unsigned major, unsigned minor)
{
    unsigned at_major, at_minor;
    struct utsname kernel;

    /* No number in a release is too large for it. NOLINTNEXTLINE(cert-err34-c) */
    if (uname(&kernel) || sscanf(kernel.release, "%u.%u", &at_major, &at_minor) != 2)
        return false;
    return at_major < major || (at_major == major && at_minor < minor);
}

/* Whether there are MPTCP sockets here. Only tcp_info comes with the name of the protocol above
 * TCP, and it doubles the cost of a connection's row; this costs 15 us. */
static bool mptcp_in_use(void)
{
    int fd = open("/proc/thread-self/net/protocols", O_RDONLY | O_CLOEXEC);
    char buf[PROTOCOLS_BYTES];
    struct tw_view rest = {buf, 0}, line;
    bool in_use = false;
    ssize_t got;

    if (fd < 0)
        return false;
    while (rest.len < sizeof(buf) && (got = read(fd, buf + rest.len, sizeof(buf) - rest.len)) > 0)
        rest.len += (size_t)got;
    close(fd);
    while (rest.len && !in_use) {
        char text[32] = "";
        unsigned sockets = 0;

        line = tw_view_cut(&rest, '\n');
        memcpy(text, line.data, line.len < sizeof(text) - 1 ? line.len : sizeof(text) - 1);
        /* "MPTCP" or "MPTCPv6", size of one, count. Too large a count cannot be.
         * NOLINTNEXTLINE(cert-err34-c) */
        if (strncmp(text, "MPTCP", 5) == 0 && sscanf(text, "%*s %*u %u", &sockets) == 1)
            in_use = sockets > 0 || kernel_before(6, 2); /* which did not count them */
    }
    return in_use;
}

bool listing_wants(const struct listing *listing, const struct tw_socket_row *row)
{
    struct tw_endpoint remote;

    if (row->state > 31 || !(listing->state_mask & TW_STATE_MASK(row->state)) ||
        (listing->local_port && tw_endpoint_port(&row->local) != listing->local_port) ||
        (listing->remote_port && tw_endpoint_port(&row->remote) != listing->remote_port))
        return false;
    if (listing->remote.sa.sa_family == AF_UNSPEC)
        return true;
    remote = tw_endpoint_unmap(&row->remote);
    return tw_endpoint_same_address(&remote, &listing->remote) &&
           (remote.sa.sa_family == AF_INET || !listing->remote.v6.sin6_scope_id ||
            !remote.v6.sin6_scope_id ||
            remote.v6.sin6_scope_id == listing->remote.v6.sin6_scope_id);
}

/* --- the request
 * --------------------------------------------------------------------------------- */

/* A program in the language of inet_diag: conditions in a row, each of which goes on to the next
 * or, by a jump beyond the end, refuses the row. */
struct program {
    union {
        uint8_t bytes[64];
        struct inet_diag_bc_op align;
    };
    uint16_t len;
};

/* Adds a condition with its operand; its `no` is set when the length is known. */
static void add_condition(struct program *program, uint8_t code, const void *operand, uint8_t len)
{
    struct inet_diag_bc_op op = {.code = code, .yes = (uint8_t)(sizeof(op) + len)};

    memcpy(program->bytes + program->len, &op, sizeof(op));
    memcpy(program->bytes + program->len + sizeof(op), operand, len);
    program->len = (uint16_t)(program->len + op.yes);
}

static void add_port(struct program *program, uint8_t code, uint16_t port)
{
    struct inet_diag_bc_op operand = {.no = port};

    if (port)
        add_condition(program, code, &operand, sizeof(operand));
}

/* An IPv4 address fits its IPv6-mapped form too. */
static void add_remote(struct program *program, const struct tw_endpoint *remote)
{
    bool v6 = remote->sa.sa_family == AF_INET6;
    struct {
        struct inet_diag_hostcond host;
        uint8_t address[16];
    } operand = {
        .host = {.family = (uint8_t)remote->sa.sa_family, .prefix_len = v6 ? 128 : 32, .port = -1}};

    if (remote->sa.sa_family == AF_UNSPEC)
        return;
    if (v6)
        memcpy(operand.address, &remote->v6.sin6_addr, 16);
    else
        memcpy(operand.address, &remote->v4.sin_addr, 4);
    add_condition(program, INET_DIAG_BC_D_COND, &operand,
                  (uint8_t)(sizeof(operand.host) + (v6 ? 16 : 4)));
}

static void close_program(struct program *program)
{
    struct inet_diag_bc_op op;

    for (uint16_t at = 0; at < program->len; at = (uint16_t)(at + op.yes)) {
        memcpy(&op, program->bytes + at, sizeof(op));
        op.no = (uint16_t)(program->len - at + sizeof(op));
        memcpy(program->bytes + at, &op, sizeof(op));
    }
}

/* The head of a request, up to its addresses and ports. The request of old (TCPDIAG_GETSOCK) is
 * about both families of TCP: it walks the kernel's tables once, where two of today's walk them
 * twice. */
static struct nlmsghdr *put_head(struct diag *diag, const struct listing *listing, int family,
                                 unsigned states, bool info, struct inet_diag_sockid **id)
{
    uint8_t extensions = info ? 1 << (INET_DIAG_INFO - 1) : 0;
    struct nlmsghdr *message;

    if (family == AF_UNSPEC) {
        struct inet_diag_req *both;

        message = diag_begin(diag, TCPDIAG_GETSOCK, NLM_F_DUMP);
        both = mnl_nlmsg_put_extra_header(message, sizeof(*both));
        both->idiag_family = AF_INET;
        both->idiag_states = states;
        both->idiag_ext = extensions;
        *id = &both->id;
    } else {
        struct inet_diag_req_v2 *one;

        message = diag_begin(diag, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
        one = mnl_nlmsg_put_extra_header(message, sizeof(*one));
        one->sdiag_family = (uint8_t)family;
        one->sdiag_protocol = listing->protocol;
        one->idiag_states = states;
        one->idiag_ext = extensions;
        *id = &one->id;
    }
    return message;
}

static void put_dump(struct diag *diag, const struct listing *listing, int family, bool info)
{
    unsigned bound = TW_STATE_MASK(TCP_CLOSE) | TW_STATE_MASK(STATE_BOUND_INACTIVE);
    bool wants_bound = listing->protocol == IPPROTO_TCP && listing->state_mask & bound;
    struct inet_diag_sockid *id;
    struct nlmsghdr *message =
        put_head(diag, listing, family, listing->state_mask | (wants_bound ? bound : 0), info, &id);
    struct program program = {.len = 0};

    /* The request's own fields are the cheaper filters, but bound sockets pass them by; they do not
     * pass the program. */
    id->idiag_sport = htons(listing->local_port);
    id->idiag_dport = htons(listing->remote_port);
    add_port(&program, INET_DIAG_BC_S_EQ, listing->local_port);
    add_port(&program, INET_DIAG_BC_D_EQ, listing->remote_port);
    add_remote(&program, &listing->remote);
    close_program(&program);
    if (program.len)
        mnl_attr_put(message, INET_DIAG_REQ_BYTECODE, program.len, program.bytes);
}

/* --- the rows
 * ------------------------------------------------------------------------------------ */

static struct tw_endpoint to_endpoint(int family, const void *address, uint16_t port_be,
                                      uint32_t device)
{
    struct tw_endpoint endpoint = {0};

    endpoint.sa.sa_family = (sa_family_t)family;
    if (family == AF_INET6) {
        memcpy(&endpoint.v6.sin6_addr, address, sizeof(endpoint.v6.sin6_addr));
        endpoint.v6.sin6_port = port_be;
        if (IN6_IS_ADDR_LINKLOCAL(&endpoint.v6.sin6_addr))
            endpoint.v6.sin6_scope_id = device;
    } else {
        memcpy(&endpoint.v4.sin_addr, address, sizeof(endpoint.v4.sin_addr));
        endpoint.v4.sin_port = port_be;
    }
    return endpoint;
}

/* What the attributes of one row are for. */
struct attributes {
    struct tw_socket_row *row;
    const struct nlattr *info;
};

static int take_ulp(const struct nlattr *attr, void *context)
{
    struct tw_socket_row *row = context;

    if (mnl_attr_get_type(attr) == INET_ULP_INFO_NAME)
        row->mptcp = mnl_attr_get_payload_len(attr) >= sizeof("mptcp") &&
                     memcmp(mnl_attr_get_payload(attr), "mptcp", sizeof("mptcp")) == 0;
    return MNL_CB_OK;
}

static int take_attribute(const struct nlattr *attr, void *context)
{
    struct attributes *attributes = context;

    switch (mnl_attr_get_type(attr)) {
    case INET_DIAG_SKV6ONLY:
        attributes->row->v6only = mnl_attr_get_payload_len(attr) && mnl_attr_get_u8(attr);
        break;
    case INET_DIAG_ULP_INFO:
        mnl_attr_parse_nested(attr, take_ulp, attributes->row);
        break;
    case INET_DIAG_INFO:
        attributes->info = attr;
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

static void take_attributes(const struct nlmsghdr *message, bool opened, struct tw_socket_row *row)
{
    struct attributes attributes = {.row = row};
    const struct nlattr *info;

    mnl_attr_parse(message, sizeof(struct inet_diag_msg), take_attribute, &attributes);
    info = attributes.info;
    if (opened && row->protocol == IPPROTO_TCP)
        row->opened = (uint8_t)opened_by_us(row, info ? mnl_attr_get_payload(info) : NULL,
                                            info ? mnl_attr_get_payload_len(info) : 0);
}

static int visit_message(const struct nlmsghdr *message, void *context)
{
    const struct inet_diag_msg *diag = mnl_nlmsg_get_payload(message);
    const struct listing *listing = context;
    const struct inet_diag_sockid *id;
    struct tw_socket_row row;

    if (mnl_nlmsg_get_payload_len(message) < sizeof(*diag))
        return 0;
    id = &diag->id;
    row = (struct tw_socket_row){
        .protocol = listing->protocol,
        .state = diag->idiag_state,
        .local = to_endpoint(diag->idiag_family, id->idiag_src, id->idiag_sport, id->idiag_if),
        .remote = to_endpoint(diag->idiag_family, id->idiag_dst, id->idiag_dport, id->idiag_if),
        .device = id->idiag_if,
        .uid = diag->idiag_uid,
        .inode = diag->idiag_inode,
        .receive_queue = diag->idiag_rqueue,
        .send_queue = diag->idiag_wqueue,
        .cookie = (uint64_t)id->idiag_cookie[1] << 32 | id->idiag_cookie[0],
    };
    /* Kernels before 6.8 could not filter all that was asked for: what is handed on must fit. */
    if (!listing_wants(listing, &row))
        return 0;
    if (diag->idiag_timer == TIMER_TIME_WAIT && row.inode == 0)
        row.expires_ms = diag->idiag_expires;
    take_attributes(message, listing->opened, &row);
    return listing->visit(&row, listing->context);
}

/* --- the calls
 * ----------------------------------------------------------------------------------- */

static const char *module_of(uint8_t protocol)
{
    return protocol == IPPROTO_UDP ? "inet_diag for UDP (CONFIG_INET_UDP_DIAG)"
                                   : "inet_diag for TCP (CONFIG_INET_TCP_DIAG)";
}

static const char *what_of(uint8_t protocol, int family)
{
    if (protocol == IPPROTO_UDP)
        return family == AF_INET6 ? "listing IPv6 UDP sockets" : "listing IPv4 UDP sockets";
    return family == AF_INET6  ? "listing IPv6 TCP sockets"
           : family == AF_INET ? "listing IPv4 TCP sockets"
                               : "listing TCP sockets";
}

static int fill_listing(const struct tw_sockets_query *query, struct listing *listing)
{
    listing->protocol = query->protocol ? query->protocol : IPPROTO_TCP;
    listing->state_mask = query->state_mask ? query->state_mask : TW_STATES_ALL;
    listing->local_port = query->local_port;
    listing->remote_port = query->remote_port;
    listing->opened = query->opened;
    if (query->remote)
        listing->remote = tw_endpoint_unmap(query->remote);
    if (listing->protocol != IPPROTO_TCP && listing->protocol != IPPROTO_UDP)
        return tw_error_set(listing->error, EPROTONOSUPPORT,
                            "listing sockets: protocol %d is neither TCP nor UDP",
                            listing->protocol);
    if (query->family != AF_UNSPEC && query->family != AF_INET && query->family != AF_INET6)
        return tw_error_set(listing->error, EAFNOSUPPORT, "listing sockets: family %d is not IP",
                            query->family);
    return 0;
}

/* Adds the blind spots of this query; `refused`: netlink is. */
static void add_blind(const struct listing *listing, bool refused, unsigned *blind)
{
    if (!blind)
        return;
    if (refused)
        *blind |= TW_BLIND_SOCK_DIAG;
    if (listing->protocol == IPPROTO_TCP && listing->state_mask & TW_STATE_MASK(TCP_CLOSE) &&
        (refused || kernel_before(6, 8)))
        *blind |= TW_BLIND_BOUND;
}

/* One family after the other, or AF_UNSPEC where one question is about both. */
static size_t families_of(const struct listing *listing, int family, bool refused, int out[2])
{
    bool at_once = !refused && listing->protocol == IPPROTO_TCP;

    out[0] = family || at_once ? family : AF_INET;
    out[1] = AF_INET6;
    return family || at_once ? 1 : 2;
}

int tw_sockets_each(const struct tw_sockets_query *query, tw_socket_visit *visit, void *context,
                    struct tw_error *error)
{
    struct listing listing = {.visit = visit, .context = context, .error = error};
    bool refused, info = false;
    int families[2];
    size_t count;
    struct diag diag;
    int rc = fill_listing(query, &listing);

    if (rc)
        return rc;
    rc = diag_open(&diag, "listing sockets", module_of(listing.protocol), error);
    refused = diag_is_refused(rc);
    if (rc && !refused)
        return rc;
    if (!refused && listing.protocol == IPPROTO_TCP)
        info = listing.opened || mptcp_in_use();
    add_blind(&listing, refused, query->blind);
    rc = 0;
    count = families_of(&listing, query->family, refused, families);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (refused) {
            rc = sockets_text_each(&listing, families[i]);
            continue;
        }
        diag.what = what_of(listing.protocol, families[i]);
        put_dump(&diag, &listing, families[i], info);
        rc = diag_run(&diag, visit_message, &listing);
    }
    if (!refused)
        diag_close(&diag);
    return rc;
}

static void put_destroy(struct diag *diag, const struct tw_socket_row *row)
{
    struct nlmsghdr *message = diag_begin(diag, SOCK_DESTROY, NLM_F_ACK);
    struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
    bool v6 = row->local.sa.sa_family == AF_INET6;

    request->sdiag_family = (uint8_t)row->local.sa.sa_family;
    request->sdiag_protocol = row->protocol;
    request->idiag_states = TW_STATE_MASK(row->state);
    request->id.idiag_sport = htons(tw_endpoint_port(&row->local));
    request->id.idiag_dport = htons(tw_endpoint_port(&row->remote));
    if (v6) {
        memcpy(request->id.idiag_src, &row->local.v6.sin6_addr, 16);
        memcpy(request->id.idiag_dst, &row->remote.v6.sin6_addr, 16);
    } else {
        memcpy(request->id.idiag_src, &row->local.v4.sin_addr, 4);
        memcpy(request->id.idiag_dst, &row->remote.v4.sin_addr, 4);
    }
    request->id.idiag_if = row->device;
    request->id.idiag_cookie[0] = (uint32_t)row->cookie;
    request->id.idiag_cookie[1] = (uint32_t)(row->cookie >> 32);
}

static int find_cookie(const struct tw_socket_row *row, void *context)
{
    const struct tw_socket_row *wanted = context;

    return row->cookie == wanted->cookie;
}

/* The kernel looks up the addresses, then compares the cookie: of several sockets that share an
 * address it finds one, and says of the others that there are none. */
static bool is_still_there(struct tw_socket_row *row)
{
    struct tw_sockets_query query = {.protocol = row->protocol,
                                     .family = row->local.sa.sa_family,
                                     .state_mask = TW_STATE_MASK(row->state),
                                     .local_port = tw_endpoint_port(&row->local)};

    return tw_sockets_each(&query, find_cookie, row, NULL) == 1;
}

static int destroy_failed(const struct tw_socket_row *row, int code, struct tw_error *error)
{
    struct tw_socket_row copy = *row;
    char text[TW_ENDPOINT_TEXT_MAX];
    const char *why = strerror(code);

    if (code == ENOENT && is_still_there(&copy))
        code = EBUSY;
    if (code == ENOENT)
        why = "it is gone already";
    else if (code == EBUSY)
        why = "the kernel finds another that shares its address; end its process instead";
    else if (code == EPERM)
        why = "not permitted; it takes CAP_NET_ADMIN and netlink: try as root";
    else if (code == EOPNOTSUPP)
        why = "this kernel cannot (CONFIG_INET_DIAG_DESTROY)";
    return tw_error_set(error, code, "ending the socket on %s (%s): %s",
                        tw_endpoint_format(&row->local, text),
                        tw_state_name(row->protocol, row->state), why);
}

int tw_socket_destroy(const struct tw_socket_row *row, struct tw_error *error)
{
    struct diag diag;
    int rc;

    if (row->cookie == 0 || (row->protocol == IPPROTO_TCP && row->state == TCP_CLOSE))
        return tw_error_set(error, EINVAL, "ending a socket: %s; end its process instead",
                            row->cookie ? "the kernel does not find one that is only bound"
                                        : "without sock_diag it has no name");
    rc = diag_open(&diag, "ending a socket", module_of(row->protocol), error);
    if (rc)
        return diag_is_refused(rc) ? destroy_failed(row, EPERM, error) : rc;
    put_destroy(&diag, row);
    rc = diag_ask(&diag);
    diag_close(&diag);
    return rc ? destroy_failed(row, -rc, error) : 0;
}
