#include "opened.h"

#include <linux/tcp.h>
#include <stdbool.h>
#include <string.h>

/* <netinet/tcp.h> has the names of the states, but it does not go together with <linux/tcp.h>. */
enum {
    ESTABLISHED = 1,
    SYN_SENT,
    SYN_RECV,
    FIN_WAIT1,
    FIN_WAIT2,
    CLOSE_WAIT = 8,
    LAST_ACK,
    CLOSING = 11
};

/* The kernel reads state and send queue before it locks the socket and writes tcp_info; a socket
 * that is closed in between spoils the sum. If nothing was sent or acknowledged for this long,
 * which is two ticks of the slowest clock, they belong together. */
#define QUIET_MS 20

/* Whether our FIN is among what was sent; -1 in states in which that cannot be known. */
static int fin_sent(const struct tw_socket_row *row, const struct tcp_info *info)
{
    switch (row->state) {
    case ESTABLISHED:
    case CLOSE_WAIT:
        return 0;
    case FIN_WAIT1:
    case LAST_ACK:
    case CLOSING:
        return info->tcpi_notsent_bytes == 0;
    case FIN_WAIT2:
        return 1;
    default:
        return -1;
    }
}

/* TCP Fast Open sends data before the connection is open, which spoils the sum. A socket that TCP
 * repair restored has delivered nothing, not even its SYN. */
static bool is_unusual(const struct tcp_info *info)
{
    return info->tcpi_options & TCPI_OPT_SYN_DATA || info->tcpi_fastopen_client_fail ||
           info->tcpi_delivered == 0;
}

/* tcpi_bytes_acked is the way that SND.UNA went since the socket was made. The end that called
 * connect() starts at its SYN, which takes one sequence number; the other is made when its SYN was
 * acknowledged already. So the one byte that data and FIN do not account for tells them apart. */
static enum tw_known opened_by_sum(const struct tw_socket_row *row, const struct tcp_info *info)
{
    uint64_t sent = info->tcpi_bytes_sent - info->tcpi_bytes_retrans;
    uint64_t in_flight = (uint64_t)row->send_queue - info->tcpi_notsent_bytes;
    int fin = fin_sent(row, info);

    if (fin < 0 || info->tcpi_state != row->state || is_unusual(info) ||
        info->tcpi_last_data_sent < QUIET_MS || info->tcpi_last_ack_recv < QUIET_MS ||
        (info->tcpi_unacked == 0) != (in_flight == 0))
        return TW_UNKNOWN;
    switch (info->tcpi_bytes_acked + in_flight - sent - (uint64_t)fin) {
    case 0:
        return TW_NO;
    case 1:
        return TW_YES;
    default:
        return TW_UNKNOWN;
    }
}

enum tw_known opened_by_us(const struct tw_socket_row *row, const void *info, size_t len)
{
    struct tcp_info copy;

    if (row->state == SYN_SENT)
        return TW_YES;
    /* A request has no tcp_info; a socket in this state is one of a simultaneous or a fast open. */
    if (row->state == SYN_RECV)
        return info ? TW_UNKNOWN : TW_NO;
    if (!info ||
        len < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(copy.tcpi_bytes_retrans))
        return TW_UNKNOWN;
    memset(&copy, 0, sizeof(copy));
    memcpy(&copy, info, len < sizeof(copy) ? len : sizeof(copy));
    return opened_by_sum(row, &copy);
}
