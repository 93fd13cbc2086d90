#include "exec_shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/limits.h"

#define BASE   "/dev/shm"
#define PREFIX "tidewait-exec."

/* --- the ring of ports -------------------------------------------------------------------------
 */

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Steps through the ports by a stride near the golden section, so that a block of foreign ports is
 * not met in a row; from a random place, so that the next run does not begin where our TIME_WAITs
 * are, and not quite by the same stride, so that two runs at once do not go side by side. */
static void fill_ring(struct shim_shared *map, const struct tw_ports *ports)
{
    uint32_t n = (uint32_t)tw_ports_count(ports), at, stride, random[2] = {0};
    uint16_t sorted[65536];

    map->port_count = n;
    if (!n)
        return;
    tw_ports_list(ports, sorted);
    (void)getrandom(random, sizeof(random), GRND_NONBLOCK);
    at = random[0] % n;
    stride = (uint32_t)((uint64_t)n * 618034 / 1000000) + random[1] % (n / 16 + 1);
    stride = stride ? stride : 1;
    while (greatest_common_divisor(stride, n) != 1)
        stride++;
    for (uint32_t i = 0; i < n; i++) {
        map->ports[i] = sorted[at];
        at = (at + stride) % n;
    }
}

static bool is_managed(const struct exec_plan *plan)
{
    for (size_t i = 0; i < plan->rule_count; i++)
        if (plan->rules[i].managed)
            return true;
    return false;
}

/* The ports of the run: those of its rules on top. Rules that name none then keep to the run's own.
 */
static int choose_ports(const struct exec_plan *plan, struct shim_rule *rules,
                        struct tw_ports *ports, struct tw_error *error)
{
    uint16_t first = 0, last = 0;
    bool more = false;

    if (!tw_ports_count(ports))
        return tw_error_set(error, EINVAL,
                            "no port is left for connect(): the range of the kernel is not to be "
                            "read, or all of it is reserved; give --ports or --no-manage");
    for (unsigned port = 1; port <= 65535; port++) {
        if (!tw_ports_has(ports, (uint16_t)port))
            continue;
        first = first ? first : (uint16_t)port;
        last = (uint16_t)port;
    }
    for (size_t i = 0; i < plan->rule_count; i++) {
        if (!rules[i].source_first)
            continue;
        more = true;
        tw_ports_add_range(ports,
                           (struct tw_port_range){rules[i].source_first, rules[i].source_last});
    }
    for (size_t i = 0; more && i < plan->rule_count; i++) {
        if (!rules[i].managed || rules[i].source_first)
            continue;
        rules[i].source_first = first;
        rules[i].source_last = last;
    }
    return 0;
}

/* --- the file ----------------------------------------------------------------------------------
 */

/* Removes a folder whose owner lives no more: nobody has it locked. */
static void sweep_one(int base, const char *name)
{
    int folder = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const struct dirent *entry;
    struct stat st;
    DIR *dir = NULL;

    if (folder >= 0 && fstat(folder, &st) == 0 && st.st_uid == geteuid() &&
        flock(folder, LOCK_EX | LOCK_NB) == 0)
        dir = fdopendir(folder);
    if (!dir) {
        if (folder >= 0)
            close(folder);
        return;
    }
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            (void)unlinkat(folder, entry->d_name, 0);
    (void)unlinkat(base, name, AT_REMOVEDIR);
    closedir(dir);
}

static void sweep(void)
{
    DIR *dir = opendir(BASE);
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir)))
        if (strncmp(entry->d_name, PREFIX, sizeof(PREFIX) - 1) == 0)
            sweep_one(dirfd(dir), entry->d_name);
    closedir(dir);
}

/* A folder that nobody but us may list, locked. Somebody who sweeps may have taken it between its
 * making and its locking. */
static int make_folder(struct exec_shared *out, struct tw_error *error)
{
    struct stat st;

    for (int i = 0; i < 8; i++) {
        snprintf(out->folder, sizeof(out->folder), BASE "/" PREFIX "XXXXXX");
        if (!mkdtemp(out->folder))
            return tw_error_set(error, errno, "cannot make a folder in " BASE ": %s",
                                strerror(errno));
        out->lock = open(out->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (out->lock >= 0 && flock(out->lock, LOCK_EX | LOCK_NB) == 0 &&
            fstat(out->lock, &st) == 0 && st.st_nlink > 0 && fchmod(out->lock, 0711) == 0)
            return 0;
        if (out->lock >= 0)
            close(out->lock);
        out->lock = -1;
        (void)rmdir(out->folder);
    }
    return tw_error_set(error, EBUSY, "cannot lock a folder in " BASE);
}

/* At most a quarter of what is left in /dev/shm, which others need too: with fewer lanes they share
 * their rings more often. */
static uint32_t choose_lanes(uint32_t ports)
{
    uint32_t lanes = ports ? SHIM_LANES : 1;
    struct statvfs fs;

    if (statvfs(BASE, &fs))
        return lanes;
    while (lanes > 1 && shim_size(lanes, ports) / fs.f_frsize > fs.f_bavail / 4)
        lanes /= 2;
    return lanes;
}

/* All of its memory is taken now: later, with a full /dev/shm, it would be the end of the program
 * (SIGBUS). */
static int make_file(struct exec_shared *out, struct tw_error *error)
{
    uint64_t name[2];
    int fd, code;

    if (getrandom(name, sizeof(name), 0) != sizeof(name))
        return tw_error_set(error, errno, "cannot make a random name: %s", strerror(errno));
    snprintf(out->path, sizeof(out->path), "%s/%016" PRIx64 "%016" PRIx64, out->folder, name[0],
             name[1]);
    fd = open(out->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return tw_error_set(error, errno, "cannot make a file in " BASE ": %s", strerror(errno));
    code = fchmod(fd, 0666) ? errno : posix_fallocate(fd, 0, (off_t)out->size);
    out->map = MAP_FAILED;
    if (code == 0)
        out->map = mmap(NULL, out->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (code == 0 && out->map == MAP_FAILED)
        code = errno;
    close(fd);
    if (code) {
        out->map = NULL;
        return tw_error_set(error, code,
                            "no room for %zu KiB in " BASE ": %s; fewer --ports need less",
                            out->size / 1024, strerror(code));
    }
    return 0;
}

static void fill(const struct exec_plan *plan, const struct tw_limits *limits,
                 const struct shim_rule *rules, const struct tw_ports *ports, uint32_t lanes,
                 struct shim_shared *map)
{
    uint64_t name = 0;

    map->version = SHIM_VERSION;
    map->started_ns = tw_clock_ns();
    map->interval_ns = plan->interval_ns;
    map->watch_closes = plan->watch_closes;
    map->kernel_first = limits->port_first;
    map->kernel_last = limits->port_last;
    map->rule_count = (uint32_t)plan->rule_count;
    memcpy(map->rules, rules, plan->rule_count * sizeof(rules[0]));
    map->lane_count = lanes;
    fill_ring(map, ports);
    if (plan->explain && getrandom(&name, sizeof(name), 0) == sizeof(name))
        snprintf(map->events, sizeof(map->events), "tidewait-exec-%d-%016" PRIx64, (int)getpid(),
                 name);
    map->magic = SHIM_MAGIC;
}

int exec_shared_make(const struct exec_plan *plan, struct exec_shared *out, struct tw_error *error)
{
    struct shim_rule rules[SHIM_RULES];
    struct tw_ports ports = {0};
    struct tw_limits limits;
    uint32_t lanes;
    int rc = 0;

    *out = (struct exec_shared){.lock = -1};
    memcpy(rules, plan->rules, sizeof(rules));
    tw_limits_read(&limits);
    if (plan->has_ports)
        ports = plan->ports;
    else
        tw_limits_ephemeral(&limits, &ports);
    if (is_managed(plan))
        rc = choose_ports(plan, rules, &ports, error);
    else
        ports = (struct tw_ports){0};
    if (rc)
        return rc;
    sweep();
    lanes = choose_lanes((uint32_t)tw_ports_count(&ports));
    out->size = shim_size(lanes, (uint32_t)tw_ports_count(&ports));
    rc = make_folder(out, error);
    if (rc == 0)
        rc = make_file(out, error);
    if (out->map)
        fill(plan, &limits, rules, &ports, lanes, out->map);
    else
        exec_shared_remove(out);
    return rc;
}

void exec_shared_remove(struct exec_shared *shared)
{
    if (shared->map)
        munmap(shared->map, shared->size);
    shared->map = NULL;
    if (shared->lock < 0)
        return;
    if (shared->path[0])
        (void)unlink(shared->path);
    (void)rmdir(shared->folder);
    close(shared->lock);
    shared->lock = -1;
}
