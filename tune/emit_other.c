/* Systems other than Linux. Each has some of what is to be changed, the rest is said in words. */
#include <stdlib.h>
#include <string.h>

#include "emit_text.h"
#include "tidewait/ports.h"

/* The two numbers of a range; 0 when it is none. */
static bool range_of(const struct change *change, unsigned *first, unsigned *last)
{
    char *rest, *end;
    unsigned long a = strtoul(change->after, &rest, 10), b = strtoul(rest, &end, 10);

    *first = (unsigned)a;
    *last = (unsigned)b;
    return end != rest && a <= b && b <= UINT16_MAX;
}

/* Calls `visit` for each run of ports in a list, until none is left. */
static void each_run(const char *list, void (*visit)(FILE *out, unsigned first, unsigned last),
                     FILE *out)
{
    struct tw_ports ports = {0};

    tw_ports_parse(tw_view_of(list), &ports, NULL);
    for (unsigned port = 1; port <= UINT16_MAX; port++) {
        unsigned first = port;

        if (!tw_ports_has(&ports, (uint16_t)port))
            continue;
        while (port < UINT16_MAX && tw_ports_has(&ports, (uint16_t)(port + 1)))
            port++;
        visit(out, first, port);
    }
}

/* What is to be changed, and why. */
static void head(FILE *out, const char *mark, const struct change *change)
{
    fprintf(out, "\n%s Linux: ", mark);
    emit_ascii(out, change->setting->name, NULL);
    fputs(" = ", out);
    emit_value(out, change->after);
    fputc('\n', out);
    emit_comment(out, mark, change->why);
}

static bool is_time_wait(const struct change *change)
{
    return emit_is(change, "tcp_tw_reuse") || emit_is(change, "tcp_tw_reuse_delay");
}

/* --- Windows: netsh ----------------------------------------------------------------------------
 */

/* Of these rem would make something else than words. */
void emit_batch_comment(FILE *out, const char *text)
{
    fputs("rem ", out);
    for (; *text; text++) {
        char one[2] = {*text, 0};

        if (*text == '%')
            fputs("%%", out);
        else
            emit_ascii(out, strchr("&|<>^", *text) ? " " : one, NULL);
    }
    fputc('\n', out);
}

static void netsh_range(FILE *out, const struct change *change)
{
    unsigned first, last;

    if (!range_of(change, &first, &last))
        return;
    if (first < 1025) {
        first = 1025;
        fputs("rem Windows begins at 1025.\n", out);
    }
    if (last < first + 254) {
        fputs("rem Windows has no range of fewer than 255 ports.\n", out);
        return;
    }
    for (int version = 4; version <= 6; version += 2)
        fprintf(out, "netsh int ipv%d set dynamicport tcp start=%u num=%u store=persistent\n",
                version, first, last - first + 1);
}

static void netsh_run(FILE *out, unsigned first, unsigned last)
{
    for (int version = 4; version <= 6; version += 2)
        fprintf(out,
                "netsh int ipv%d add excludedportrange protocol=tcp startport=%u "
                "numberofports=%u store=persistent\n",
                version, first, last - first + 1);
}

void emit_netsh(FILE *out, const struct changes *changes)
{
    fputs("rem As administrator; Windows Vista, Server 2008 and later.\n", out);
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        fputs("\nrem Linux: ", out);
        emit_ascii(out, change->setting->name, NULL);
        fputc('\n', out);
        emit_batch_comment(out, change->why);
        if (emit_is(change, "ip_local_port_range"))
            netsh_range(out, change);
        else if (emit_is(change, "ip_local_reserved_ports"))
            each_run(change->after, netsh_run, out);
        else if (emit_is(change, "tcp_timestamps"))
            fprintf(out, "netsh int tcp set global timestamps=%s\n",
                    strcmp(change->after, "0") == 0 ? "disabled" : "enabled");
        else if (is_time_wait(change))
            fputs("rem Windows takes no TIME_WAIT over. How long it lasts stands in the registry: "
                  "see the format reg.\n",
                  out);
        else
            fputs("rem Windows has no such setting.\n", out);
    }
}

/* --- Windows: registry -------------------------------------------------------------------------
 */

static void reg_text(FILE *out, const char *text)
{
    for (; *text; text++)
        fprintf(out, "%02x,00,", (unsigned char)*text);
    fputs("00,00,", out);
}

/* "5432-5432" in UTF-16. */
static void reg_run(FILE *out, unsigned first, unsigned last)
{
    char text[16];

    snprintf(text, sizeof(text), "%u-%u", first, last);
    reg_text(out, text);
}

static void reg_range(FILE *out, const struct change *change)
{
    unsigned first, last;

    if (!range_of(change, &first, &last))
        return;
    last = last < 5000 ? 5000 : last > 65534 ? 65534 : last;
    fprintf(out,
            "; Windows 2000, XP and Server 2003 take the ports from 1025 up to this one (5000 to\n"
            "; 65534). Later ones do not read it: see the format netsh.\n"
            "\"MaxUserPort\"=dword:%08x\n",
            last);
}

/* One value stands for both settings of Linux. */
static void reg_time_wait(FILE *out, bool *told)
{
    if (*told) {
        fputs("; By TcpTimedWaitDelay too, above.\n", out);
        return;
    }
    *told = true;
    fputs("; Windows takes no TIME_WAIT over; a shorter one is what comes nearest, for all\n"
          "; connections. In seconds, 30 to 300; without it 240 in Windows 2000 and XP, 120 since\n"
          "; Server 2003. Here: 30.\n"
          "\"TcpTimedWaitDelay\"=dword:0000001e\n",
          out);
}

void emit_reg(FILE *out, const struct changes *changes)
{
    bool told = false;

    fputs("; Read when Windows starts.\n\n"
          "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters]\n",
          out);
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        head(out, ";", change);
        if (emit_is(change, "ip_local_port_range")) {
            reg_range(out, change);
        } else if (emit_is(change, "ip_local_reserved_ports")) {
            fputs("; Windows 2000, XP and Server 2003; later ones: see the format netsh.\n"
                  "\"ReservedPorts\"=hex(7):",
                  out);
            each_run(change->after, reg_run, out);
            fputs("00,00\n", out);
        } else if (is_time_wait(change)) {
            reg_time_wait(out, &told);
        } else {
            fputs("; Windows has no such setting here.\n", out);
        }
    }
}

/* --- FreeBSD and macOS -------------------------------------------------------------------------
 */

/* What one setting of Linux is there; the last row is for all others. */
struct equal {
    const char *linux_name;
    const char *name; /* NULL: none that means the same */
    const char *note; /* NULL: none */
};

/* Writes name=value lines behind `prefix`. */
static void bsd_line(FILE *out, const char *prefix, const char *name, const char *value)
{
    fprintf(out, "%s%s=", prefix, name);
    emit_value(out, value);
    fputc('\n', out);
}

static void bsd_range(FILE *out, const char *prefix, const struct change *change)
{
    unsigned first, last;

    if (range_of(change, &first, &last))
        fprintf(out, "%snet.inet.ip.portrange.first=%u\n%snet.inet.ip.portrange.last=%u\n", prefix,
                first, prefix, last);
}

static void emit_bsd(FILE *out, const struct changes *changes, const char *prefix,
                     const struct equal *equals)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];
        const struct equal *equal = equals;

        head(out, "#", change);
        while (equal->linux_name && !emit_is(change, equal->linux_name))
            equal++;
        if (equal->note)
            fprintf(out, "# %s\n", equal->note);
        if (emit_is(change, "ip_local_port_range"))
            bsd_range(out, prefix, change);
        else if (equal->name)
            bsd_line(out, prefix, equal->name, change->after);
    }
}

#define NO_LIST                                                                               \
    "There is no list of reserved ports: start the services before the clients, or choose a " \
    "range without their ports."
#define NO_REUSE(msl, lasts)                                                        \
    "No TIME_WAIT is taken over. It lasts 2 x net.inet.tcp.msl (" msl " ms: " lasts \
    " s), for all "                                                                 \
    "connections; set lower only where no segment travels that long."
#define PF_STATES "Of pf: `set limit states N` in /etc/pf.conf."

static const struct equal freebsd[] = {
    {"ip_local_port_range", NULL, "hifirst and hilast beside these are for IP_PORTRANGE_HIGH."},
    {"ip_local_reserved_ports", NULL, NO_LIST},
    {"tcp_tw_reuse", NULL, NO_REUSE("30000", "60")},
    {"tcp_tw_reuse_delay", NULL, NO_REUSE("30000", "60")},
    {"tcp_timestamps", "net.inet.tcp.rfc1323", NULL},
    {"tcp_max_tw_buckets", NULL,
     "Up to FreeBSD 13: net.inet.tcp.maxtcptw; later ones have no limit of its own."},
    {"nf_conntrack_max", NULL, PF_STATES},
    {"file-max", "kern.maxfiles", NULL},
    {"nr_open", "kern.maxfilesperproc", NULL},
    {"somaxconn", "kern.ipc.soacceptqueue", NULL},
    {NULL, NULL, "FreeBSD has no such setting."},
};

static const struct equal macos[] = {
    {"ip_local_port_range", NULL, "hifirst and hilast beside these are for IP_PORTRANGE_HIGH."},
    {"ip_local_reserved_ports", NULL, NO_LIST},
    {"tcp_tw_reuse", NULL, NO_REUSE("15000", "30")},
    {"tcp_tw_reuse_delay", NULL, NO_REUSE("15000", "30")},
    {"nf_conntrack_max", NULL, PF_STATES},
    {"file-max", "kern.maxfiles", NULL},
    {"nr_open", "kern.maxfilesperproc",
     "What launchd gives to the programs it starts: launchctl limit maxfiles."},
    {"somaxconn", "kern.ipc.somaxconn", NULL},
    {NULL, NULL, "macOS has no such setting."},
};

void emit_freebsd(FILE *out, const struct changes *changes)
{
    fputs("# /etc/sysctl.conf; at once with: service sysctl restart\n", out);
    emit_bsd(out, changes, "", freebsd);
}

void emit_macos(FILE *out, const struct changes *changes)
{
    fputs("# As root. macOS does not keep it over a restart, and its later versions do not read\n"
          "# /etc/sysctl.conf: a property list in /Library/LaunchDaemons with RunAtLoad, whose\n"
          "# ProgramArguments are this script, does it each time.\n",
          out);
    emit_bsd(out, changes, "sysctl -w ", macos);
}
