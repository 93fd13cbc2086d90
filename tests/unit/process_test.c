/* From the text of /proc/PID/cgroup to unit and container. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tidewait/process.h"

#define HEX "0123456789abcdef"
#define ID  HEX HEX HEX HEX
#define ID2 "f" HEX HEX HEX "0123456789abcde"
#define POD "pod1b2c3d4e-0000-1111-2222-333344445555"

struct row {
    const char *text;
    const char *unit;
    bool user_unit;
    const char *runtime;
    const char *container;
};

static const struct row rows[] = {
    /* systemd */
    {"0::/\n", "", false, "", ""},
    {"0::/init.scope\n", "init.scope", false, "", ""},
    {"0::/system.slice/nginx.service\n", "nginx.service", false, "", ""},
    {"0::/system.slice/nginx.service", "nginx.service", false, "", ""},
    {"0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service", false, "",
     ""},
    {"0::/system.slice/a\\x2db\\x2fc.service\n", "a\\x2db\\x2fc.service", false, "", ""},
    {"0::/system.slice/_cpu.service\n", "cpu.service", false, "", ""},
    {"0::/system.slice/nginx.service (deleted)\n", "nginx.service", false, "", ""},
    {"0::/../system.slice/nginx.service\n", "nginx.service", false, "", ""},
    {"0::/system.slice/sshd.socket\n", "sshd.socket", false, "", ""},
    {"0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope", false, "", ""},
    {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service\n", "foo.service",
     true, "", ""},
    {"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "init.scope", true, "", ""},
    {"0::/user.slice/user-1000.slice/user@1000.service\n", "user@1000.service", false, "", ""},
    {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-a\\x2db-12.scope\n",
     "app-a\\x2db-12.scope", true, "", ""},
    /* what a service makes below itself is no unit, whatever its name */
    {"0::/system.slice/evil.service/system.slice/sshd.service\n", "evil.service", false, "", ""},
    {"0::/system.slice/evil.service/user@0.service/sshd.service\n", "evil.service", false, "", ""},
    {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service/sshd.service\n",
     "a.service", true, "", ""},
    {"0::/user.slice/user-7.slice/user@7.service/app.slice/user@0.service/x.service\n",
     "user@0.service", true, "", ""},
    /* docker */
    {"0::/docker/" ID "\n", "", false, "docker", ID},
    {"0::/system.slice/docker-" ID ".scope\n", "", false, "docker", ID},
    {"0::/system.slice/docker-" ID ".scope/system.slice/nginx.service\n", "nginx.service", false,
     "docker", ID},
    {"0::/user.slice/user-7.slice/user@7.service/user.slice/docker-" ID ".scope\n", "", false,
     "docker", ID},
    {"0::/system.slice/docker.service\n", "docker.service", false, "", ""},
    {"0::/docker/" ID "/docker/" ID2 "\n", "", false, "docker", ID2},
    /* podman */
    {"0::/machine.slice/libpod-" ID ".scope/container\n", "", false, "podman", ID},
    {"0::/machine.slice/libpod-conmon-" ID ".scope\n", "", false, "podman", ID},
    {"0::/libpod_parent/libpod-" ID "\n", "", false, "podman", ID},
    {"0::/user.slice/user-7.slice/user@7.service/user.slice/libpod-" ID ".scope\n", "", false,
     "podman", ID},
    /* containerd, kubernetes, CRI-O */
    {"0::/default/" ID "\n", "", false, "containerd", ID},
    {"0::/system.slice/nerdctl-" ID ".scope\n", "", false, "containerd", ID},
    {"0::/system.slice/containerd.service\n", "containerd.service", false, "", ""},
    {"0::/kubepods/besteffort/" POD "/" ID "\n", "", false, "kubernetes", ID},
    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" POD
     ".slice/cri-containerd-" ID ".scope\n",
     "", false, "kubernetes", ID},
    {"0::/kubepods.slice/kubepods-" POD ".slice/crio-" ID ".scope\n", "", false, "kubernetes", ID},
    {"0::/kubepods.slice/kubepods-" POD ".slice/docker-" ID ".scope\n", "", false, "kubernetes",
     ID},
    {"0::/system.slice/containerd.service/kubepods-besteffort-" POD ".slice:cri-containerd:" ID
     "\n",
     "", false, "kubernetes", ID},
    {"0::/docker/" ID "/kubelet.slice/kubelet-kubepods.slice/cri-containerd-" ID2 ".scope\n", "",
     false, "kubernetes", ID2},
    {"0::/kubepods.slice/kubelet.service\n", "kubelet.service", false, "", ""},
    {"0::/system.slice/crio-" ID ".scope\n", "", false, "crio", ID},
    /* LXC */
    {"0::/lxc/web\n", "", false, "lxc", "web"},
    {"0::/lxc.payload.web/system.slice/nginx.service\n", "nginx.service", false, "lxc", "web"},
    {"0::/lxc.monitor.web\n", "", false, "", ""},
    /* cgroup v1: the best line, in any order */
    {"12:pids:/docker/" ID "\n1:name=systemd:/docker/" ID "\n0::/system.slice/containerd.service\n",
     "", false, "docker", ID},
    {"12:pids:/system.slice/a.service\n1:name=systemd:/system.slice/b.service\n0::/\n", "b.service",
     false, "", ""},
    {"1:name=systemd:/user.slice\n4:cpu,cpuacct:/\n3:pids:/user.slice/user-7.slice/"
     "session-1.scope\n",
     "session-1.scope", false, "", ""},
    /* hostile or broken */
    {"", "", false, "", ""},
    {"\n\n", "", false, "", ""},
    {"0:", "", false, "", ""},
    {"0::", "", false, "", ""},
    {":::", "", false, "", ""},
    {"0::////\n", "", false, "", ""},
    {"nonsense\n", "", false, "", ""},
    {"0::/system.slice/.service\n", "", false, "", ""},
    {"0::/system.slice/a\033[31m.service\n", "", false, "", ""},
    {"0::/system.slice/a b.service\n", "", false, "", ""},
    {"0::/docker/short\n", "", false, "", ""},
    {"0::/docker/" HEX HEX HEX "0123456789ABCDEF\n", "", false, "", ""},
    {"0::/docker/" ID "0\n", "", false, "", ""},
    {"0::/system.slice/docker-" ID "0.scope\n", "docker-" ID "0.scope", false, "", ""},
    {"0::/system.slice/docker-.scope\n", "docker-.scope", false, "", ""},
    {"0::/kubepods:x:" ID "\n", "", false, "", ""},
    {"0::/" ID "\n", "", false, "", ""},
    {"0::/lxc/\n", "", false, "", ""},
    {"0::/lxc/" ID "01234567\n", "", false, "", ""},
    {"0::/system.slice/" ID ID ".service\n", "", false, "", ""},
};

static void cgroups_are_sorted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct tw_process process = {.unit = "old", .runtime = "old", .container = "old"};

        process.user_unit = !row->user_unit;
        tw_process_parse_cgroup(row->text, &process);
        if (strcmp(process.unit, row->unit) != 0 || process.user_unit != row->user_unit ||
            strcmp(process.runtime, row->runtime) != 0 ||
            strcmp(process.container, row->container) != 0)
            fail_msg("%s: unit '%s' user %d runtime '%s' container '%s'", row->text, process.unit,
                     process.user_unit, process.runtime, process.container);
    }
}

/* Every beginning of every text: nothing is read behind the end (ASan looks). */
static void beginnings_are_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i].text);

        for (size_t cut = 0; cut <= len; cut++) {
            char *text = test_malloc(cut + 1);
            struct tw_process process;

            memcpy(text, rows[i].text, cut);
            text[cut] = 0;
            tw_process_parse_cgroup(text, &process);
            assert_true(strlen(process.unit) < sizeof(process.unit));
            assert_true(strlen(process.container) < sizeof(process.container));
            test_free(text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cgroups_are_sorted),
        cmocka_unit_test(beginnings_are_harmless),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
