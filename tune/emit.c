#include "emit.h"

#include <stdlib.h>
#include <string.h>

#include "emit_text.h"
#include "journal.h"

const char *const emit_names[EMIT_FORMATS] = {
    "sysctl", "ansible", "kubernetes", "docker", "netsh", "reg", "freebsd", "macos",
};

/* --- text --------------------------------------------------------------------------------------
 */

void emit_ascii(FILE *out, const char *text, const char *special)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte < 0x20 || byte > 0x7e) {
            fprintf(out, "\\x%02x", byte);
            continue;
        }
        if (special && strchr(special, byte))
            fputc('\\', out);
        fputc(byte, out);
    }
}

void emit_comment(FILE *out, const char *mark, const char *text)
{
    fprintf(out, "%s ", mark);
    emit_ascii(out, text, NULL);
    fputc('\n', out);
}

/* The kernel separates by tabs. */
static char *with_blanks(const char *value)
{
    char *text = strdup(value);

    for (char *at = text; at && *at; at++)
        if (*at == '\t')
            *at = ' ';
    return text;
}

void emit_value(FILE *out, const char *value)
{
    char *text = with_blanks(value);

    if (text)
        emit_ascii(out, text, NULL);
    free(text);
}

void emit_quoted(FILE *out, const char *value)
{
    char *text = with_blanks(value);

    fputc('"', out);
    if (text)
        emit_ascii(out, text, "\"\\");
    fputc('"', out);
    free(text);
}

bool emit_is(const struct change *change, const char *name)
{
    const char *dot = strrchr(change->setting->name, '.');

    return strcmp(dot ? dot + 1 : change->setting->name, name) == 0;
}

/* --- Linux -------------------------------------------------------------------------------------
 */

/* The limit of a program is no sysctl: says where it is set. True when it was that. */
static bool is_limit(FILE *out, const struct change *change, const char *mark)
{
    if (change->setting->kind != SETTING_LIMIT)
        return false;
    fprintf(out, "%s no sysctl, but a limit of the program: ", mark);
    emit_ascii(out, change->setting->name, NULL);
    fputs(" = ", out);
    emit_value(out, change->after);
    fprintf(out, "\n%s (soft, hard): LimitNOFILE=SOFT:HARD in its unit, or docker run --ulimit\n",
            mark);
    return true;
}

/* Settings that are there only with a module. */
static void note_module(FILE *out, const struct change *change, const char *mark)
{
    if (strncmp(change->setting->name, "net.netfilter.", strlen("net.netfilter.")) == 0)
        fprintf(out, "%s Is there only when nf_conntrack is loaded: name it in modules-load.d.\n",
                mark);
}

static void emit_sysctl(FILE *out, const struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        fputc('\n', out);
        emit_comment(out, "#", change->why);
        if (is_limit(out, change, "#"))
            continue;
        note_module(out, change, "#");
        fprintf(out, "%s = ", change->setting->name);
        emit_value(out, change->after);
        fputc('\n', out);
    }
}

static void emit_ansible(FILE *out, const struct changes *changes)
{
    size_t tasks = 0;

    fputs("# Tasks; ansible-galaxy collection install ansible.posix\n", out);
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        fputc('\n', out);
        emit_comment(out, "#", change->why);
        if (is_limit(out, change, "#"))
            continue;
        note_module(out, change, "#");
        fprintf(out,
                "- name: \"Set %s\"\n  become: true\n  ansible.posix.sysctl:\n    name: \"%s\"\n"
                "    value: ",
                change->setting->name, change->setting->name);
        emit_quoted(out, change->after);
        fputs("\n    sysctl_file: \"" JOURNAL_KEEP_FILE "\"\n    sysctl_set: true\n"
              "    state: present\n",
              out);
        tasks++;
    }
    if (!tasks)
        fputs("[]\n", out);
}

/* --- containers --------------------------------------------------------------------------------
 */

/* What a kubelet lets a pod set without being asked: Kubernetes, "Using sysctls in a cluster". */
static const struct {
    const char *name;
    const char *since;
} safe_sysctls[] = {
    {"net.ipv4.ip_local_port_range", NULL},
    {"net.ipv4.tcp_syncookies", NULL},
    {"net.ipv4.ping_group_range", "1.18"},
    {"net.ipv4.ip_unprivileged_port_start", "1.22"},
    {"net.ipv4.ip_local_reserved_ports", "1.27"},
    {"net.ipv4.tcp_keepalive_time", "1.29"},
    {"net.ipv4.tcp_fin_timeout", "1.29"},
    {"net.ipv4.tcp_keepalive_intvl", "1.29"},
    {"net.ipv4.tcp_keepalive_probes", "1.29"},
    {"net.ipv4.tcp_rmem", "1.32"},
    {"net.ipv4.tcp_wmem", "1.32"},
};

static void note_safety(FILE *out, const char *name)
{
    for (size_t i = 0; i < sizeof(safe_sysctls) / sizeof(safe_sysctls[0]); i++) {
        if (strcmp(safe_sysctls[i].name, name) != 0)
            continue;
        if (safe_sysctls[i].since)
            fprintf(out, "      # In the kubelet's safe set since Kubernetes %s.\n",
                    safe_sysctls[i].since);
        return;
    }
    fprintf(out,
            "      # Not in the kubelet's safe set. On the node: kubelet "
            "--allowed-unsafe-sysctls=%s\n",
            name);
}

static bool is_of_container(const struct change *change)
{
    return change->setting->per_netns && change->setting->kind != SETTING_LIMIT;
}

/* What a container cannot have of its own. */
static void emit_of_host(FILE *out, const struct changes *changes, const char *where)
{
    bool told = false;

    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        if (is_of_container(change))
            continue;
        fprintf(out, "\n");
        if (!told)
            fprintf(out, "# %s\n", where);
        told = true;
        emit_comment(out, "#", change->why);
        if (is_limit(out, change, "#"))
            continue;
        note_module(out, change, "#");
        fprintf(out, "#   %s = ", change->setting->name);
        emit_value(out, change->after);
        fputc('\n', out);
    }
}

static size_t count_of_container(const struct changes *changes)
{
    size_t count = 0;

    for (size_t i = 0; i < changes->count; i++)
        count += is_of_container(&changes->items[i]);
    return count;
}

static void emit_kubernetes(FILE *out, const struct changes *changes)
{
    bool any = count_of_container(changes) > 0;

    fputs("# Part of a Pod. Not together with hostNetwork: true.\nspec:\n  securityContext:\n",
          out);
    fprintf(out, "    sysctls:%s\n", any ? "" : " []");
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        if (!is_of_container(change))
            continue;
        emit_comment(out, "      #", change->why);
        note_safety(out, change->setting->name);
        fprintf(out, "      - name: \"%s\"\n        value: ", change->setting->name);
        emit_quoted(out, change->after);
        fputc('\n', out);
    }
    emit_of_host(out, changes,
                 "Of the node, not of a pod: in /etc/sysctl.d of the node, or by a DaemonSet with "
                 "a privileged container that runs sysctl -w.");
}

static void emit_docker(FILE *out, const struct changes *changes)
{
    bool any = count_of_container(changes) > 0;

    fputs("# Not together with the host's network.\n# docker run", out);
    for (size_t i = 0; i < changes->count; i++) {
        if (!is_of_container(&changes->items[i]))
            continue;
        fprintf(out, " \\\n#   --sysctl '%s=", changes->items[i].setting->name);
        emit_value(out, changes->items[i].after);
        fputc('\'', out);
    }
    fprintf(out,
            " \\\n#   IMAGE\n\n# Part of a compose file; app is the name of your service.\n"
            "services:\n  app:\n    sysctls:%s\n",
            any ? "" : " {}");
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        if (!is_of_container(change))
            continue;
        emit_comment(out, "      #", change->why);
        fprintf(out, "      %s: ", change->setting->name);
        emit_quoted(out, change->after);
        fputc('\n', out);
    }
    emit_of_host(out, changes, "Of the host, not of a container: in its /etc/sysctl.d.");
}

/* --- all ---------------------------------------------------------------------------------------
 */

struct form {
    const char *before_title; /* what must stand before everything else */
    const char *mark;         /* of a comment */
    void (*write)(FILE *out, const struct changes *changes);
    bool dos; /* lines end with CR LF */
};

static const struct form forms[EMIT_FORMATS] = {
    [EMIT_SYSCTL] = {"", "#", emit_sysctl, false},
    [EMIT_ANSIBLE] = {"---\n", "#", emit_ansible, false},
    [EMIT_KUBERNETES] = {"", "#", emit_kubernetes, false},
    [EMIT_DOCKER] = {"", "#", emit_docker, false},
    [EMIT_NETSH] = {"", "rem", emit_netsh, true},
    [EMIT_REG] = {"Windows Registry Editor Version 5.00\n\n", ";", emit_reg, true},
    [EMIT_FREEBSD] = {"", "#", emit_freebsd, false},
    [EMIT_MACOS] = {"#!/bin/sh\n", "#", emit_macos, false},
};

/* NULL without memory. Frees the text that is given. */
static char *with_dos_lines(char *text)
{
    char *out = text ? malloc(2 * strlen(text) + 1) : NULL;
    size_t len = 0;

    for (const char *at = text; out && *at; at++) {
        if (*at == '\n')
            out[len++] = '\r';
        out[len++] = *at;
    }
    if (out)
        out[len] = 0;
    free(text);
    return out;
}

char *emit(const struct changes *changes, enum emit_format format, const char *title)
{
    const struct form *form = &forms[format];
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    bool failed;

    if (!out)
        return NULL;
    fputs(form->before_title, out);
    if (format == EMIT_NETSH)
        emit_batch_comment(out, title);
    else
        emit_comment(out, form->mark, title);
    form->write(out, changes);
    failed = ferror(out) != 0;
    if (fclose(out) || failed) {
        free(text);
        return NULL;
    }
    return form->dos ? with_dos_lines(text) : text;
}
