#include "ls_print.h"
#include "tidewait/text.h"

#include <net/if.h>
#include <netinet/tcp.h>
#include <string.h>

/* Room for the last column: some hundred processes that share a socket. */
#define CELL_MAX 16384

/* What is left for the last column at least, however long the addresses are. */
#define LAST_MIN 6

#define ADDRESS_V4 21 /* 255.255.255.255:65535 */
#define ADDRESS_V6 47

enum column {
    COLUMN_NETNS,
    COLUMN_PROTO,
    COLUMN_STATE,
    COLUMN_RECV_Q,
    COLUMN_SEND_Q,
    COLUMN_LOCAL,
    COLUMN_REMOTE,
    COLUMN_USER,
    COLUMN_INODE,
    COLUMN_TIMER,
    COLUMN_FLAGS,
    COLUMN_UNIT,
    COLUMN_PROCESS,
};

static const struct ls_column columns[] = {
    [COLUMN_NETNS] = {"NETNS", 12, false},    [COLUMN_PROTO] = {"PROTO", 5, false},
    [COLUMN_STATE] = {"STATE", 11, false},    [COLUMN_RECV_Q] = {"RECV-Q", 6, true},
    [COLUMN_SEND_Q] = {"SEND-Q", 6, true},    [COLUMN_LOCAL] = {"LOCAL", 0, false},
    [COLUMN_REMOTE] = {"REMOTE", 0, false},   [COLUMN_USER] = {"USER", 8, false},
    [COLUMN_INODE] = {"INODE", 8, true},      [COLUMN_TIMER] = {"TIMER", 6, true},
    [COLUMN_FLAGS] = {"FLAGS", 8, false},     [COLUMN_UNIT] = {"UNIT", 16, false},
    [COLUMN_PROCESS] = {"PROCESS", 1, false},
};

static const char color_off[] = "\033[0m";

/* --- the table --- */

static void add_column(struct ls_printer *printer, enum column column)
{
    printer->layout[printer->layout_count++] = (uint8_t)column;
}

static void choose_columns(struct ls_printer *printer)
{
    const struct ls_look *look = &printer->look;

    if (look->netns)
        add_column(printer, COLUMN_NETNS);
    add_column(printer, COLUMN_PROTO);
    add_column(printer, COLUMN_STATE);
    if (look->extended) {
        add_column(printer, COLUMN_RECV_Q);
        add_column(printer, COLUMN_SEND_Q);
    }
    add_column(printer, COLUMN_LOCAL);
    add_column(printer, COLUMN_REMOTE);
    if (look->extended) {
        add_column(printer, COLUMN_USER);
        add_column(printer, COLUMN_INODE);
        add_column(printer, COLUMN_TIMER);
        add_column(printer, COLUMN_FLAGS);
    }
    if (look->processes && look->extended)
        add_column(printer, COLUMN_UNIT);
    if (look->processes)
        add_column(printer, COLUMN_PROCESS);
}

/* On a wide terminal there is room for IPv6. */
static void choose_width(struct ls_printer *printer)
{
    size_t others = printer->look.processes ? 20 : 0, left;

    printer->address_width = ADDRESS_V4;
    if (printer->look.family == AF_INET)
        return;
    if (!printer->look.columns) {
        if (printer->look.family == AF_INET6)
            printer->address_width = ADDRESS_V6;
        return;
    }
    for (size_t i = 0; i < printer->layout_count; i++)
        if (columns[printer->layout[i]].width)
            others += columns[printer->layout[i]].width + 1;
    left = printer->look.columns > others ? (printer->look.columns - others) / 2 : 0;
    if (left > ADDRESS_V4 + 1)
        printer->address_width = left > ADDRESS_V6 + 1 ? ADDRESS_V6 : (unsigned)left - 1;
}

void ls_printer_init(struct ls_printer *printer, const struct ls_look *look, struct ls_out *out,
                     struct ls_owners *owners)
{
    *printer = (struct ls_printer){.look = *look, .out = out, .owners = owners};
    choose_columns(printer);
    choose_width(printer);
}

/* Columns of safe text: its characters, since nothing in it is wide or joins. */
static size_t columns_of(const char *text, size_t len)
{
    size_t count = 0;

    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static void print_last(struct ls_printer *printer, const char *text, size_t len)
{
    size_t edge = printer->look.columns;
    size_t room = edge > printer->column + LAST_MIN ? edge - printer->column : LAST_MIN;

    if (edge && columns_of(text, len) > room) {
        ls_out_bytes(printer->out, text, ls_cut_columns(text, len, room - 1));
        ls_out_text(printer->out, "…");
    } else {
        ls_out_bytes(printer->out, text, len);
    }
}

void ls_print_newline(struct ls_printer *printer)
{
    ls_out_bytes(printer->out, "\n", 1);
    printer->column = 0;
}

void ls_print_cell(struct ls_printer *printer, const struct ls_column *column, bool last,
                   const char *text, size_t len)
{
    size_t width = column->width ? column->width : printer->address_width;
    size_t wide = columns_of(text, len), pad = wide < width ? width - wide : 0;

    if (column->right)
        ls_out_blanks(printer->out, pad);
    if (last) {
        printer->column += column->right ? pad : 0;
        print_last(printer, text, len);
        return;
    }
    ls_out_bytes(printer->out, text, len);
    ls_out_blanks(printer->out, column->right ? 1 : pad + 1);
    printer->column += wide + pad + 1;
}

void ls_print_header(struct ls_printer *printer, const struct ls_column *const *list, size_t count)
{
    if (!printer->look.header)
        return;
    if (printer->look.color)
        ls_out_text(printer->out, "\033[1m");
    for (size_t i = 0; i < count; i++)
        ls_print_cell(printer, list[i], i + 1 == count, list[i]->name, strlen(list[i]->name));
    if (printer->look.color)
        ls_out_text(printer->out, color_off);
    ls_print_newline(printer);
}

/* --- cells --- */

const char *ls_state_name(uint8_t protocol, uint8_t state)
{
    /* What is bound and no more has a name of its own with TCP only. */
    return tw_state_name(protocol ? protocol : IPPROTO_UDP, state);
}

static const char *state_color(uint8_t state)
{
    switch (state) {
    case TCP_LISTEN:
        return "\033[32m";
    case TCP_CLOSE_WAIT: /* the program does not close: worth a look */
        return "\033[33m";
    case TCP_TIME_WAIT:
        return "\033[2m";
    default:
        return NULL;
    }
}

size_t ls_format_netns(char buf[LS_NETNS_TEXT_MAX], const struct tw_netns *netns)
{
    if (!netns->name[0])
        return ls_format_number(buf, netns->inode);
    return tw_text_safe(buf, LS_NETNS_TEXT_MAX, netns->name, strlen(netns->name));
}

size_t ls_format_process(char buf[LS_PROCESS_TEXT_MAX], const struct tw_process *process)
{
    size_t len = tw_text_safe(buf, LS_PROCESS_TEXT_MAX - 16, process->comm, strlen(process->comm));

    if (len == 0)
        buf[len++] = '?';
    buf[len++] = '(';
    len += ls_format_number(buf + len, (uint64_t)process->pid);
    buf[len++] = ')';
    return len;
}

static size_t put(char *buf, const char *text)
{
    return (size_t)(stpcpy(buf, text) - buf);
}

/* "58.2s" */
static size_t format_timer(char *buf, uint32_t ms)
{
    size_t len = ls_format_number(buf, ms / 1000);

    buf[len++] = '.';
    len += ls_format_number(buf + len, ms / 100 % 10);
    buf[len++] = 's';
    return len;
}

static size_t format_flags(char *buf, const struct tw_socket_row *row)
{
    char device[IF_NAMESIZE];
    size_t len = 0;

    if (row->v6only)
        len += put(buf + len, "v6only,");
    if (row->mptcp)
        len += put(buf + len, "mptcp,");
    if (row->opened != TW_UNKNOWN)
        len += put(buf + len, row->opened == TW_YES ? "opened," : "accepted,");
    if (row->device && if_indextoname(row->device, device)) {
        len += put(buf + len, "dev=");
        len += put(buf + len, device);
        len++;
    }
    return len ? len - 1 : put(buf, "-");
}

/* Each process once, then what the first one was called with. */
static size_t format_processes(struct ls_printer *printer, char buf[CELL_MAX],
                               const struct ls_item *item)
{
    const struct tw_process *process;
    size_t len = 0, room = CELL_MAX - 4 * LS_PROCESS_TEXT_MAX;
    int last = 0;

    if (item->holding_count == 0)
        return put(buf, "-");
    for (size_t i = 0; i < item->holding_count; i++) {
        if (item->holdings[i].pid == last)
            continue;
        if (len > room) {
            len += put(buf + len, ",+");
            len += ls_format_number(buf + len, item->holding_count - i);
            break;
        }
        if (last)
            buf[len++] = ',';
        last = item->holdings[i].pid;
        len += ls_format_process(buf + len, ls_owners_process(printer->owners, last));
    }
    process = ls_owners_process(printer->owners, item->holdings[0].pid);
    if (printer->look.extended && process->cmdline[0]) {
        buf[len++] = ' ';
        len += tw_text_safe(buf + len, CELL_MAX - len, process->cmdline, strlen(process->cmdline));
    }
    return len;
}

static size_t format_user(struct ls_printer *printer, char *buf, uint32_t uid)
{
    const char *name;

    if (printer->look.numeric)
        return ls_format_number(buf, uid);
    name = ls_owners_user(printer->owners, uid);
    return tw_text_safe(buf, CELL_MAX, name, strlen(name));
}

static size_t format_unit(struct ls_printer *printer, char *buf, const struct ls_item *item)
{
    const struct tw_process *process;

    if (item->holding_count == 0)
        return put(buf, "-");
    process = ls_owners_process(printer->owners, item->holdings[0].pid);
    return process->unit[0] ? tw_text_safe(buf, CELL_MAX, process->unit, strlen(process->unit))
                            : put(buf, "-");
}

static size_t format_inet(struct ls_printer *printer, enum column column, char *buf,
                          const struct tw_socket_row *row)
{
    switch (column) {
    case COLUMN_PROTO:
        return put(buf, row->protocol == IPPROTO_UDP ? "udp" : "tcp");
    case COLUMN_STATE:
        return put(buf, ls_state_name(row->protocol, row->state));
    case COLUMN_RECV_Q:
        return ls_format_number(buf, row->receive_queue);
    case COLUMN_SEND_Q:
        return ls_format_number(buf, row->send_queue);
    case COLUMN_LOCAL:
        return ls_format_endpoint(buf, &row->local);
    case COLUMN_REMOTE:
        return ls_format_endpoint(buf, &row->remote);
    case COLUMN_USER:
        return row->inode ? format_user(printer, buf, row->uid) : put(buf, "-");
    case COLUMN_INODE:
        return ls_format_number(buf, row->inode);
    case COLUMN_TIMER:
        return row->expires_ms ? format_timer(buf, row->expires_ms) : put(buf, "-");
    case COLUMN_FLAGS:
        return format_flags(buf, row);
    default:
        return 0;
    }
}

size_t ls_format_path(char buf[LS_PATH_TEXT_MAX], const struct tw_unix_row *row)
{
    size_t len = 0;

    if (row->path_len == 0)
        return put(buf, "*");
    if (row->path[0] == 0)
        buf[len++] = '@';
    return len +
           tw_text_safe(buf + len, LS_PATH_TEXT_MAX - len, row->path + len, row->path_len - len);
}

static size_t format_unix(struct ls_printer *printer, enum column column, char *buf,
                          const struct tw_unix_row *row)
{
    switch (column) {
    case COLUMN_PROTO:
        return put(buf, row->type == SOCK_STREAM  ? "u_str"
                        : row->type == SOCK_DGRAM ? "u_dgr"
                                                  : "u_seq");
    case COLUMN_STATE:
        return put(buf, ls_state_name(0, row->state));
    case COLUMN_RECV_Q:
        return ls_format_number(buf, row->receive_queue);
    case COLUMN_SEND_Q:
        return ls_format_number(buf, row->send_queue);
    case COLUMN_LOCAL:
        return ls_format_path(buf, row);
    case COLUMN_REMOTE:
        return row->peer_inode ? ls_format_number(buf, row->peer_inode) : put(buf, "*");
    case COLUMN_USER:
        return format_user(printer, buf, row->uid);
    case COLUMN_INODE:
        return ls_format_number(buf, row->inode);
    default:
        return put(buf, "-");
    }
}

static size_t format_cell(struct ls_printer *printer, enum column column, char *buf,
                          const struct ls_item *item)
{
    switch (column) {
    case COLUMN_NETNS:
        return ls_format_netns(buf, item->netns);
    case COLUMN_UNIT:
        return format_unit(printer, buf, item);
    case COLUMN_PROCESS:
        return format_processes(printer, buf, item);
    default:
        return item->inet ? format_inet(printer, column, buf, item->inet)
                          : format_unix(printer, column, buf, item->local);
    }
}

static void print_item_header(struct ls_printer *printer)
{
    const struct ls_column *list[LS_COLUMNS_MAX];

    for (size_t i = 0; i < printer->layout_count; i++)
        list[i] = &columns[printer->layout[i]];
    ls_print_header(printer, list, printer->layout_count);
}

void ls_print_item(struct ls_printer *printer, const struct ls_item *item)
{
    const char *color = printer->look.color
                            ? state_color(item->inet ? item->inet->state : item->local->state)
                            : NULL;
    char buf[CELL_MAX];

    if (printer->rows++ == 0)
        print_item_header(printer);
    for (size_t i = 0; i < printer->layout_count; i++) {
        enum column column = printer->layout[i];
        bool painted = color && column == COLUMN_STATE;
        size_t len = format_cell(printer, column, buf, item);

        if (painted)
            ls_out_text(printer->out, color);
        ls_print_cell(printer, &columns[column], i + 1 == printer->layout_count, buf, len);
        if (painted)
            ls_out_text(printer->out, color_off);
    }
    ls_print_newline(printer);
}
