#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"
#include "ls_filter.h"
#include "ls_group.h"
#include "ls_json.h"
#include "ls_out.h"
#include "ls_owners.h"
#include "ls_print.h"
#include "options.h"
#include "tidewait/namespaces.h"
#include "tidewait/sockets.h"
#include "tidewait/unix_sockets.h"

/* What a visitor returns when no more is wanted. */
#define ENOUGH 1

struct ls_config {
    bool tcp;
    bool udp;
    bool unix_sockets;
    bool v4;
    bool v6;
    bool listening;
    bool processes;
    bool extended;
    bool numeric;
    int by;
    uint64_t limit;
    const char *netns;
    bool all_netns;
    bool json;
    bool json_lines;
    bool no_header;
    bool no_color;
    bool quiet;
};

#define FIELD(name) offsetof(struct ls_config, name)

/* The zeroed field is LS_BY_NOTHING. */
static int option_by(struct tw_view text, const struct option_row *row, void *field,
                     struct tw_error *error)
{
    int choice, rc = option_choice(text, row, &choice, error);

    if (rc == 0)
        *(int *)field = LS_BY_STATE + choice;
    return rc;
}

/* clang-format off */
static const struct option_row ls_options[] = {
    {.name = "tcp", .letter = 't', .parse = option_flag, .offset = FIELD(tcp),
     .help = "TCP sockets; without -t, -u and -x: TCP and UDP."},
    {.name = "udp", .letter = 'u', .parse = option_flag, .offset = FIELD(udp),
     .help = "UDP sockets."},
    {.name = "unix", .letter = 'x', .parse = option_flag, .offset = FIELD(unix_sockets),
     .help = "Unix sockets."},
    {.name = "ipv4", .letter = '4', .parse = option_flag, .offset = FIELD(v4),
     .help = "Only sockets of IPv4."},
    {.name = "ipv6", .letter = '6', .parse = option_flag, .offset = FIELD(v6),
     .help = "Only sockets of IPv6."},
    {.name = "listening", .letter = 'l', .parse = option_flag, .offset = FIELD(listening),
     .help = "Only sockets that listen, and those of UDP that are not connected."},
    {.name = "processes", .letter = 'p', .parse = option_flag, .offset = FIELD(processes),
     .help = "The processes that have each socket open."},
    {.name = "extended", .letter = 'e', .parse = option_flag, .offset = FIELD(extended),
     .help = "Queues, user, inode, timer and flags as well; with -p unit and command line."},
    {.name = "numeric", .letter = 'n', .parse = option_flag, .offset = FIELD(numeric),
     .help = "Users as numbers; addresses and ports always are."},
    {.name = "by", .metavar = "WHAT", .parse = option_by, .offset = FIELD(by),
     .choices = "state|lane|holder|port|user|unit|netns",
     .help = "Count instead of list, the biggest group first: by state, lane, holder, port, user, "
             "unit or netns."},
    {.name = "limit", .metavar = "N", .parse = option_number, .offset = FIELD(limit),
     .max = INT64_MAX, .preset = "0",
     .help = "At most this many sockets, or groups; 0 is all."},
    {.name = "netns", .letter = 'N', .metavar = "NETNS", .parse = option_text,
     .offset = FIELD(netns),
     .help = "The sockets of this network namespace: a name of ip netns, or a pid."},
    {.name = "all-netns", .letter = 'A', .parse = option_flag, .offset = FIELD(all_netns),
     .help = "The sockets of every network namespace."},
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Print one JSON array of objects."},
    {.name = "jsonl", .parse = option_flag, .offset = FIELD(json_lines),
     .help = "Print one JSON object a line."},
    {.name = "no-header", .letter = 'H', .parse = option_flag, .offset = FIELD(no_header),
     .help = "No line with the names of the columns."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Do not say what could not be seen."},
    {0},
};
/* clang-format on */

struct ls {
    const struct ls_config *config;
    struct ls_filter filter;
    unsigned protocols; /* LS_TCP, LS_UDP, LS_UNIX */
    bool every_netns;
    bool need_holders;
    struct ls_owners owners;
    struct ls_groups groups;
    struct ls_printer printer;
    struct ls_out out;
    const struct tw_netns *netns; /* the one under way, when there are several */
    unsigned namespaces;          /* entered so far */
    uint64_t matched;
    uint16_t seen; /* rows with this local port were in an earlier pass */
    unsigned blind;
    struct tw_error error;
};

/* --- what to look at --- */

static unsigned choose_protocols(const struct ls_config *config, const struct ls_filter *filter)
{
    unsigned inet_kinds = LS_KIND_MASK(LS_ADDRESS) - 1;
    unsigned chosen = (config->tcp ? LS_TCP : 0u) | (config->udp ? LS_UDP : 0u) |
                      (config->unix_sockets ? LS_UNIX : 0u);

    inet_kinds |= LS_KIND_MASK(LS_ADDRESS) | LS_KIND_MASK(LS_SRC) | LS_KIND_MASK(LS_DST);
    if (!chosen && filter->protocols)
        chosen = filter->protocols;
    else if (!chosen && (filter->kinds & LS_KIND_MASK(LS_PATH)))
        chosen = LS_UNIX;
    else if (!chosen)
        chosen = LS_TCP | LS_UDP;
    if (filter->protocols)
        chosen &= filter->protocols;
    if ((filter->kinds & inet_kinds) || config->v4 != config->v6)
        chosen &= ~(unsigned)LS_UNIX;
    if (filter->kinds & LS_KIND_MASK(LS_PATH))
        chosen &= LS_UNIX;
    return chosen;
}

/* 0: none can fit. */
static unsigned choose_states(const struct ls *ls, uint8_t protocol)
{
    unsigned mask = ls->filter.state_mask ? ls->filter.state_mask : TW_STATES_ALL;

    if (ls->config->listening)
        mask &= TW_STATE_MASK(protocol == IPPROTO_UDP ? TCP_CLOSE : TCP_LISTEN);
    return mask;
}

static int choose_family(const struct ls_config *config)
{
    return config->v4 == config->v6 ? 0 : config->v4 ? AF_INET : AF_INET6;
}

/* --- one socket --- */

/* Whether a process that has it open meets all that is asked of processes. */
static bool has_wanted_process(struct ls *ls, const struct ls_item *item)
{
    if (!(ls->filter.kinds & LS_OF_PROCESS))
        return true;
    for (size_t i = 0; i < item->holding_count; i++)
        if (ls_filter_process(&ls->filter, ls_owners_process(&ls->owners, item->holdings[i].pid)))
            return true;
    return false;
}

static int take(struct ls *ls, struct ls_item *item, uint32_t inode)
{
    if (ls->need_holders) {
        item->holdings = ls_owners_of(&ls->owners, inode, &item->holding_count);
        if (!has_wanted_process(ls, item))
            return 0;
    }
    item->netns = ls->netns;
    ls->matched++;
    if (ls->config->by) {
        if (ls_groups_add(&ls->groups, item))
            return tw_error_set(&ls->error, ENOMEM, "no memory for the groups");
        return 0;
    }
    if (ls->printer.look.format == LS_TABLE)
        ls_print_item(&ls->printer, item);
    else
        ls_json_item(&ls->printer, item);
    return ls->out.code || (ls->config->limit && ls->matched == ls->config->limit) ? ENOUGH : 0;
}

static int take_inet(const struct tw_socket_row *row, void *context)
{
    struct ls *ls = context;
    struct ls_item item = {.inet = row};

    if ((ls->seen && tw_endpoint_port(&row->local) == ls->seen) ||
        !ls_filter_inet(&ls->filter, row))
        return 0;
    return take(ls, &item, row->inode);
}

static int take_unix(const struct tw_unix_row *row, void *context)
{
    struct ls *ls = context;
    struct ls_item item = {.local = row};

    return ls_filter_unix(&ls->filter, row) ? take(ls, &item, row->inode) : 0;
}

static int take_listener(const struct tw_socket_row *row, void *context)
{
    struct ls *ls = context;

    ls_groups_listener(&ls->groups, row);
    return 0;
}

/* --- one namespace --- */

static int each_inet(struct ls *ls, uint8_t protocol)
{
    struct tw_sockets_query query = {.protocol = protocol,
                                     .family = choose_family(ls->config),
                                     .state_mask = choose_states(ls, protocol),
                                     .opened = ls->config->extended,
                                     .blind = &ls->blind};
    int rc = 0;

    if (!query.state_mask)
        return 0;
    for (unsigned pass = 0; rc == 0 && ls_filter_query(&ls->filter, pass, &query, &ls->seen);
         pass++)
        rc = tw_sockets_each(&query, take_inet, ls, &ls->error);
    return rc;
}

static int each_here(struct ls *ls)
{
    struct tw_sockets_query listeners = {.protocol = IPPROTO_TCP,
                                         .state_mask = TW_STATE_MASK(TCP_LISTEN)};
    int rc = 0;

    if (ls->config->by && ls_groups_enter(&ls->groups, ls->netns))
        return tw_error_set(&ls->error, ENOMEM, "no memory for the namespaces");
    if (ls_groups_need_listeners(ls->config->by))
        rc = tw_sockets_each(&listeners, take_listener, ls, &ls->error);
    if (rc == 0 && (ls->protocols & LS_TCP))
        rc = each_inet(ls, IPPROTO_TCP);
    if (rc == 0 && (ls->protocols & LS_UDP))
        rc = each_inet(ls, IPPROTO_UDP);
    if (rc == 0 && (ls->protocols & LS_UNIX))
        rc = tw_unix_sockets_each(ls->config->listening, take_unix, ls, &ls->blind, &ls->error);
    return rc;
}

static int visit_netns(const struct tw_netns *netns, void *context)
{
    struct ls *ls = context;

    ls->namespaces++;
    if (!ls_filter_netns(&ls->filter, netns->inode))
        return 0;
    ls->netns = netns;
    return each_here(ls);
}

/* --- the whole --- */

static size_t terminal_columns(void)
{
    const char *text = getenv("COLUMNS");
    struct winsize size;
    uint64_t columns;

    if (!isatty(STDOUT_FILENO))
        return 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        return size.ws_col;
    if (text && tw_parse_number(tw_view_of(text), "COLUMNS", 1, UINT16_MAX, &columns, NULL) == 0)
        return (size_t)columns;
    return 80;
}

static void choose_look(struct ls *ls)
{
    const struct ls_config *config = ls->config;
    struct ls_look look = {
        .format = config->json         ? LS_JSON
                  : config->json_lines ? LS_JSON_LINES
                                       : LS_TABLE,
        .header = !config->no_header,
        .processes = config->processes,
        .extended = config->extended,
        .numeric = config->numeric,
        .netns = ls->every_netns,
        .color = isatty(STDOUT_FILENO) && !config->no_color && !getenv("NO_COLOR"),
        .family = choose_family(config),
        .columns = terminal_columns(),
    };

    ls_printer_init(&ls->printer, &look, &ls->out, &ls->owners);
}

static void prepare(struct ls *ls)
{
    const struct ls_config *config = ls->config;
    unsigned kinds = ls->filter.kinds;

    ls->out.fd = STDOUT_FILENO;
    ls->protocols = choose_protocols(config, &ls->filter);
    ls->every_netns =
        config->all_netns || config->by == LS_BY_NETNS || (kinds & LS_KIND_MASK(LS_NETNS));
    ls->need_holders =
        config->processes || (kinds & LS_OF_PROCESS) || ls_groups_need_holders(config->by);
    ls->owners.full =
        (kinds & (LS_KIND_MASK(LS_UNIT) | LS_KIND_MASK(LS_CONTAINER))) ||
        config->by == LS_BY_UNIT ||
        (config->processes && (config->extended || config->json || config->json_lines));
    choose_look(ls);
    ls_groups_init(&ls->groups, (enum ls_by)config->by, &ls->owners);
}

static void say_blind(const struct ls *ls)
{
    unsigned blind = ls->blind | ls->owners.holders.blind;

    if (ls->config->quiet)
        return;
    /* No plain list of an old kernel has them, and who lists only wants what there is. */
    if (!ls->need_holders && !(ls->filter.state_mask & TW_STATE_MASK(TCP_CLOSE)))
        blind &= ~(unsigned)TW_BLIND_BOUND;
    for (int i = 0; i < TW_BLIND_COUNT; i++)
        if (blind & 1u << i)
            fprintf(stderr, "tidewait ls: not seen: %s\n", tw_blind_text((enum tw_blind)(1 << i)));
}

static int exit_of(const struct ls *ls, int rc)
{
    if (ls->out.code && ls->out.code != EPIPE) {
        fprintf(stderr, "tidewait ls: cannot write to standard output: %s\n",
                strerror(ls->out.code));
        return EXIT_PARTLY;
    }
    if (rc < 0) {
        fprintf(stderr, "tidewait ls: %s\n", ls->error.text);
        return rc == -EPERM || rc == -EACCES             ? EXIT_DENIED
               : rc == -EOPNOTSUPP || rc == -ENOPROTOOPT ? EXIT_UNSUPPORTED
                                                         : EXIT_OURS;
    }
    if (ls->every_netns && (ls->blind & TW_BLIND_NETNS) && ls->namespaces <= 1)
        return EXIT_DENIED;
    return ls->matched ? EXIT_YES : EXIT_NO;
}

static int list(struct ls *ls)
{
    int rc = ls->need_holders ? ls_owners_find(&ls->owners, &ls->error) : 0;

    if (rc)
        return exit_of(ls, rc);
    ls_json_begin(&ls->printer);
    rc = ls->every_netns ? tw_netns_each(visit_netns, ls, &ls->blind, &ls->error) : each_here(ls);
    if (rc >= 0 && ls->config->by)
        ls_groups_print(&ls->groups, &ls->printer, ls->config->limit);
    ls_json_end(&ls->printer);
    ls_out_flush(&ls->out);
    say_blind(ls);
    return exit_of(ls, rc);
}

/* --- the command line --- */

static int check(const struct ls_config *config, struct tw_error *error)
{
    if (config->json && config->json_lines)
        return tw_error_set(error, EINVAL, "--json and --jsonl: choose one");
    if (config->netns && (config->all_netns || config->by == LS_BY_NETNS))
        return tw_error_set(error, EINVAL, "--netns is one namespace, %s are all: choose one",
                            config->all_netns ? "--all-netns" : "--by netns");
    return 0;
}

static int run_ls(const void *argument, int operands, char **operand)
{
    const struct ls_config *config = argument;
    struct ls *ls = calloc(1, sizeof(*ls));
    int rc;

    if (!ls) {
        fprintf(stderr, "tidewait ls: no memory\n");
        return EXIT_OURS;
    }
    ls->config = config;
    rc = check(config, &ls->error) ? EXIT_USAGE : EXIT_YES;
    for (int i = 0; rc == EXIT_YES && i < operands; i++)
        if (ls_filter_add(&ls->filter, operand[i], &ls->error))
            rc = EXIT_USAGE;
    if (rc == EXIT_YES && config->netns && (ls->filter.kinds & LS_KIND_MASK(LS_NETNS))) {
        tw_error_set(&ls->error, EINVAL, "--netns and the filter netns= : choose one");
        rc = EXIT_USAGE;
    }
    if (rc == EXIT_YES)
        rc = enter_netns(config->netns, &ls->error);
    if (rc == EXIT_YES) {
        signal(SIGPIPE, SIG_IGN); /* `ls | head` ends by EPIPE, in silence */
        prepare(ls);
        rc = list(ls);
        ls_groups_fini(&ls->groups);
    } else {
        fprintf(stderr, "tidewait ls: %s\n", ls->error.text);
    }
    ls_owners_fini(&ls->owners);
    ls_filter_fini(&ls->filter);
    free(ls);
    return rc;
}

const struct command command_ls = {
    .name = "ls",
    .operands = "[FILTER...]",
    .summary = "List or count sockets and the processes that have them open.",
    .details =
        "FILTER is a port (8080, :8080, 8000-8100, 80,443), an address (10.0.0.5, 10.0.0.0/24,\n"
        "10.0.0.5:5432, [::1]:80), unix:PATH, or KEY=VALUE with port, sport, dport, addr, src, "
        "dst,\n"
        "state, proto, user, netns, pid, comm, unit, container. Filters of one kind are\n"
        "alternatives; of each kind one has to hold.\n"
        "Exit status: 0 found; 1 nothing found; 2 bad input; 3 not permitted; 4 not supported;\n"
        "5 the output could not be written.\n",
    .options = ls_options,
    .config_size = sizeof(struct ls_config),
    .run = run_ls,
};
