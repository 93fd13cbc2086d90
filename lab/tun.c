#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "network.h"
#include "wire.h"

#define PREFIX_LEN 16

int tun_open(struct host *host)
{
    /* Without IFF_VNET_HDR the kernel cuts to the MTU and computes checksums before we read. */
    struct ifreq request = {.ifr_name = WIRE_INTERFACE, .ifr_flags = IFF_TUN | IFF_NO_PI};
    struct tw_error error = {0};
    int fd;

    host_enter(host);
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        stage_lacking(host->stage, "a wire needs /dev/net/tun: %s%s", strerror(errno),
                      errno == EACCES ? " (its mode is 0666 on most systems; or be root)" : "");
    if (ioctl(fd, TUNSETIFF, &request))
        stage_lacking(host->stage, "a wire needs a TUN interface, on host %s: %s", host->name,
                      strerror(errno));
    /* With its network the address brings the route to the other host. */
    if (network_bring_up(WIRE_INTERFACE, &error) ||
        network_add_address(WIRE_INTERFACE, &host->address, PREFIX_LEN, &error))
        stage_broken(host->stage, "a wire, on host %s: %s", host->name, error.text);
    return fd;
}
