/*
 * pcap.h - packets in a file that tcpdump and Wireshark read.
 */
#ifndef PCAP_H
#define PCAP_H

#include <stddef.h>
#include <stdint.h>

/* Both return 0 or -errno. The clock is that of the wall, in nanoseconds. */
int pcap_begin(int fd);
int pcap_add(int fd, const uint8_t *packet, size_t len);

#endif
