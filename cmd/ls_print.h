/*
 * ls_print.h - sockets of `ls` as lines of a table, one by one as they come.
 */
#ifndef LS_PRINT_H
#define LS_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ls_out.h"
#include "ls_owners.h"
#include "tidewait/namespaces.h"
#include "tidewait/sockets.h"
#include "tidewait/unix_sockets.h"

enum ls_format {
    LS_TABLE,
    LS_JSON,       /* one array */
    LS_JSON_LINES, /* one object a line */
};

/* How it is to look. */
struct ls_look {
    enum ls_format format;
    bool header;
    bool processes;
    bool extended;
    bool numeric; /* users as numbers */
    bool netns;   /* several namespaces */
    bool color;
    int family;     /* AF_INET: no address is long */
    size_t columns; /* of the terminal; 0: none, cut nothing */
};

/* One socket: either of the two rows. */
struct ls_item {
    const struct tw_socket_row *inet;
    const struct tw_unix_row *local;
    const struct tw_netns *netns;      /* NULL unless several are looked at */
    const struct tw_holding *holdings; /* sorted by pid */
    size_t holding_count;
};

struct ls_column {
    const char *name;
    unsigned width; /* 0: that of an address */
    bool right;
};

#define LS_COLUMNS_MAX 16

struct ls_printer {
    struct ls_look look;
    struct ls_out *out;
    struct ls_owners *owners;
    uint8_t layout[LS_COLUMNS_MAX]; /* the columns of a socket */
    size_t layout_count;
    unsigned address_width;
    uint64_t rows;  /* printed so far */
    size_t column;  /* of the line under way, from 0 */
    bool first_key; /* of the JSON object under way */
};

void ls_printer_init(struct ls_printer *printer, const struct ls_look *look, struct ls_out *out,
                     struct ls_owners *owners);

/* One socket as a line; the header goes before the first. */
void ls_print_item(struct ls_printer *printer, const struct ls_item *item);

/* --- what groups are printed with as well --- */

/* The names of columns, as one line. */
void ls_print_header(struct ls_printer *printer, const struct ls_column *const *list, size_t count);

/* One cell, padded, with a blank behind it; or the last one of its line: cut at the edge of a
 * terminal. The text must be safe. */
void ls_print_cell(struct ls_printer *printer, const struct ls_column *column, bool last,
                   const char *text, size_t len);

void ls_print_newline(struct ls_printer *printer);

/* The state's name; a Unix socket has protocol 0. */
const char *ls_state_name(uint8_t protocol, uint8_t state);

/* The namespace's name, or its inode in digits. Safe; no NUL. */
#define LS_NETNS_TEXT_MAX 256
size_t ls_format_netns(char buf[LS_NETNS_TEXT_MAX], const struct tw_netns *netns);

/* The path as bound, an abstract one with '@' before it; "*" without any. Safe; no NUL. */
#define LS_PATH_TEXT_MAX 440
size_t ls_format_path(char buf[LS_PATH_TEXT_MAX], const struct tw_unix_row *row);

/* comm(pid). Safe; no NUL. */
#define LS_PROCESS_TEXT_MAX 160
size_t ls_format_process(char buf[LS_PROCESS_TEXT_MAX], const struct tw_process *process);

#endif
