/*
 * emit.h - changes as text for those who set them: a file of sysctl.d(5), Ansible, Kubernetes,
 * Docker, and the like for other systems.
 */
#ifndef EMIT_H
#define EMIT_H

#include "change.h"

enum emit_format {
    EMIT_SYSCTL,
    EMIT_ANSIBLE,
    EMIT_KUBERNETES, /* securityContext.sysctls of a pod; what is not namespaced goes to the node */
    EMIT_DOCKER,     /* --sysctl of `docker run`, and compose */
    EMIT_NETSH,      /* a batch file, its lines ended by CR LF */
    EMIT_REG,        /* likewise */
    EMIT_FREEBSD,
    EMIT_MACOS,
    EMIT_FORMATS,
};
extern const char *const emit_names[EMIT_FORMATS];

/* A text from malloc; NULL without memory. The reason of each line stands above it as a comment.
 * What another system has no setting for is said in a comment, never left out. `title` (one line)
 * goes into the head. Whatever title and reasons hold, the syntax holds: they become plain ASCII.
 */
char *emit(const struct changes *changes, enum emit_format format, const char *title);

#endif
