#include "ls_json.h"

#include <net/if.h>
#include <string.h>

/* --- the frame --- */

void ls_json_begin(struct ls_printer *printer)
{
    if (printer->look.format == LS_JSON)
        ls_out_text(printer->out, "[");
}

void ls_json_end(struct ls_printer *printer)
{
    if (printer->look.format == LS_JSON)
        ls_out_text(printer->out, printer->rows ? "\n]\n" : "]\n");
}

void ls_json_open(struct ls_printer *printer)
{
    if (printer->look.format == LS_JSON)
        ls_out_text(printer->out, printer->rows ? ",\n{" : "\n{");
    else
        ls_out_text(printer->out, "{");
    printer->first_key = true;
    printer->rows++;
}

void ls_json_close(struct ls_printer *printer)
{
    ls_out_text(printer->out, printer->look.format == LS_JSON ? "}" : "}\n");
}

/* --- values --- */

void ls_json_key(struct ls_printer *printer, const char *key)
{
    ls_out_text(printer->out, printer->first_key ? "\"" : ",\"");
    ls_out_text(printer->out, key);
    ls_out_text(printer->out, "\":");
    printer->first_key = false;
}

void ls_json_number(struct ls_printer *printer, const char *key, uint64_t value)
{
    ls_json_key(printer, key);
    ls_out_number(printer->out, value);
}

void ls_json_text(struct ls_printer *printer, const char *key, const char *text)
{
    ls_json_key(printer, key);
    ls_out_json(printer->out, text, strlen(text));
}

static void json_bool(struct ls_printer *printer, const char *key, bool value)
{
    ls_json_key(printer, key);
    ls_out_text(printer->out, value ? "true" : "false");
}

void ls_json_address(struct ls_printer *printer, const char *key,
                     const struct tw_endpoint *endpoint)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    ls_json_key(printer, key);
    ls_out_json(printer->out, text, ls_format_address(text, endpoint));
}

void ls_json_netns(struct ls_printer *printer, const struct tw_netns *netns)
{
    ls_json_number(printer, "netns", netns->inode);
    if (netns->name[0])
        ls_json_text(printer, "netns_name", netns->name);
}

void ls_json_user(struct ls_printer *printer, uint32_t uid)
{
    ls_json_number(printer, "uid", uid);
    if (!printer->look.numeric)
        ls_json_text(printer, "user", ls_owners_user(printer->owners, uid));
}

/* --- a socket --- */

static void print_inet(struct ls_printer *printer, const struct tw_socket_row *row)
{
    char device[IF_NAMESIZE];
    bool v6 = row->local.sa.sa_family == AF_INET6;

    ls_json_text(printer, "proto", row->protocol == IPPROTO_UDP ? "udp" : "tcp");
    ls_json_text(printer, "family", v6 ? "ipv6" : "ipv4");
    ls_json_text(printer, "state", ls_state_name(row->protocol, row->state));
    ls_json_address(printer, "laddr", &row->local);
    ls_json_number(printer, "lport", tw_endpoint_port(&row->local));
    ls_json_address(printer, "raddr", &row->remote);
    ls_json_number(printer, "rport", tw_endpoint_port(&row->remote));
    ls_json_number(printer, "recv_q", row->receive_queue);
    ls_json_number(printer, "send_q", row->send_queue);
    if (row->inode) {
        ls_json_user(printer, row->uid);
        ls_json_number(printer, "inode", row->inode);
    }
    if (row->expires_ms)
        ls_json_number(printer, "expires_ms", row->expires_ms);
    if (row->device)
        ls_json_text(printer, "device", if_indextoname(row->device, device) ? device : "?");
    if (v6)
        json_bool(printer, "v6only", row->v6only);
    if (row->mptcp)
        json_bool(printer, "mptcp", true);
    if (row->opened != TW_UNKNOWN)
        json_bool(printer, "opened", row->opened == TW_YES);
}

static void print_path(struct ls_printer *printer, const struct tw_unix_row *row)
{
    char path[sizeof(row->path)];

    if (row->path_len == 0)
        return;
    memcpy(path, row->path, row->path_len);
    if (path[0] == 0)
        path[0] = '@';
    ls_json_key(printer, "path");
    ls_out_json(printer->out, path, row->path_len);
}

static void print_unix(struct ls_printer *printer, const struct tw_unix_row *row)
{
    ls_json_text(printer, "proto", "unix");
    ls_json_text(printer, "type",
                 row->type == SOCK_STREAM  ? "stream"
                 : row->type == SOCK_DGRAM ? "dgram"
                                           : "seqpacket");
    ls_json_text(printer, "state", ls_state_name(0, row->state));
    print_path(printer, row);
    ls_json_number(printer, "recv_q", row->receive_queue);
    ls_json_number(printer, "send_q", row->send_queue);
    ls_json_user(printer, row->uid);
    ls_json_number(printer, "inode", row->inode);
    if (row->peer_inode)
        ls_json_number(printer, "peer_inode", row->peer_inode);
}

static void print_process(struct ls_printer *printer, const struct tw_process *process)
{
    if (process->comm[0])
        ls_json_text(printer, "comm", process->comm);
    if (process->cmdline[0])
        ls_json_text(printer, "cmdline", process->cmdline);
    if (process->unit[0])
        ls_json_text(printer, "unit", process->unit);
    if (process->container[0])
        ls_json_text(printer, "container", process->container);
}

static void print_holders(struct ls_printer *printer, const struct ls_item *item)
{
    const struct tw_process *process;

    if (item->holding_count == 0)
        return;
    process = ls_owners_process(printer->owners, item->holdings[0].pid);
    ls_json_number(printer, "pid", (uint64_t)process->pid);
    print_process(printer, process);
    ls_json_key(printer, "holders");
    for (size_t i = 0; i < item->holding_count; i++) {
        process = ls_owners_process(printer->owners, item->holdings[i].pid);
        ls_out_text(printer->out, i ? ",{" : "[{");
        printer->first_key = true;
        ls_json_number(printer, "pid", (uint64_t)process->pid);
        ls_json_number(printer, "fd", (uint64_t)item->holdings[i].fd);
        print_process(printer, process);
        if (process->start_ticks)
            ls_json_number(printer, "age_ms", process->age_ms);
        ls_out_text(printer->out, "}");
    }
    ls_out_text(printer->out, "]");
    printer->first_key = false;
}

void ls_json_item(struct ls_printer *printer, const struct ls_item *item)
{
    ls_json_open(printer);
    if (item->inet)
        print_inet(printer, item->inet);
    else
        print_unix(printer, item->local);
    if (item->netns)
        ls_json_netns(printer, item->netns);
    if (printer->look.processes)
        print_holders(printer, item);
    ls_json_close(printer);
}
