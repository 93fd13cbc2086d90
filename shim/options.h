/*
 * options.h - socket options that the headers of older systems lack, and a mark that we leave.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <netinet/in.h>
#include <sys/socket.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* A range from port 1 on, without an end: it forbids nothing, and tells that bind() to port 0 has
 * kept the address alone. The socket itself is the only place that dup, fork and exec do not lose.
 */
#define RANGE_LATE 1u

/* The same from port 2 on: bound without SO_REUSEADDR, which listen() or connect() is to set. */
#define RANGE_REUSE 2u

#endif
