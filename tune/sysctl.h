/*
 * sysctl.h - reads and writes one setting of this kernel, in the calling thread's network
 * namespace.
 */
#ifndef SYSCTL_H
#define SYSCTL_H

#include "setting.h"

/* Room for the longest value, ip_local_reserved_ports: 65,536 ports as text take 384 KiB at most.
 */
#define SYSCTL_VALUE_MAX ((size_t)384 * 1024)

/* The value exactly as the kernel writes it, without the newline at its end, from malloc. -ENOENT:
 * this kernel has no such setting; -EACCES; each with a text. Of SETTING_LIMIT "soft hard". */
int sysctl_read(const struct setting *setting, char **out, struct tw_error *error);

/* -ENOENT; -EROFS: /proc/sys is mounted read-only, as in containers; -EACCES or -EPERM: not
 * permitted; -EINVAL: the kernel refuses the value; -EOPNOTSUPP: SETTING_LIMIT, which belongs to
 * the process that needs it. */
int sysctl_write(const struct setting *setting, const char *value, struct tw_error *error);

/* Whether sysctl_write() would be allowed, without writing: 0 or the same errors. */
int sysctl_writable(const struct setting *setting, struct tw_error *error);

#endif
