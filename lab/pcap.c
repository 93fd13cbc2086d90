#include "pcap.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC_NS     0xa1b23c4d
#define LINKTYPE_RAW 101
#define LENGTH_MAX   65535

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, length_max, link_type;
};

struct record_header {
    uint32_t seconds, nanoseconds, kept, len;
};

static int write_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len) {
        ssize_t written = write(fd, at, len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        at += written;
        len -= (size_t)written;
    }
    return 0;
}

int pcap_begin(int fd)
{
    const struct file_header header = {
        .magic = MAGIC_NS,
        .major = 2,
        .minor = 4,
        .length_max = LENGTH_MAX,
        .link_type = LINKTYPE_RAW,
    };

    return write_all(fd, &header, sizeof(header));
}

/* One write() a record where that can be: a reader finds whole ones, also after a SIGKILL. */
int pcap_add(int fd, const uint8_t *packet, size_t len)
{
    uint8_t buf[sizeof(struct record_header) + LENGTH_MAX];
    struct record_header header = {.kept = (uint32_t)len, .len = (uint32_t)len};
    struct timespec now;

    if (len > LENGTH_MAX)
        return -EMSGSIZE;
    clock_gettime(CLOCK_REALTIME, &now);
    header.seconds = (uint32_t)now.tv_sec;
    header.nanoseconds = (uint32_t)now.tv_nsec;
    memcpy(buf, &header, sizeof(header));
    memcpy(buf + sizeof(header), packet, len);
    return write_all(fd, buf, sizeof(header) + len);
}
