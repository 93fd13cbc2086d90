#include "exec_reach.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tidewait/parse.h"

/* The kernel follows a script that is run by a script, and so on, so far. */
#define SCRIPTS_MAX 4

#if UINTPTR_MAX > UINT32_MAX
typedef Elf64_Ehdr file_header;
typedef Elf64_Phdr segment_header;
typedef Elf64_Shdr section_header;
#define OUR_CLASS ELFCLASS64
#else
typedef Elf32_Ehdr file_header;
typedef Elf32_Phdr segment_header;
typedef Elf32_Shdr section_header;
#define OUR_CLASS ELFCLASS32
#endif

struct program {
    const char *name; /* as the user, or a script, names it */
    char script[PATH_MAX];
    char path[PATH_MAX];
    unsigned char *data; /* NULL: not to be read */
    size_t size;
    struct stat st;
};

/* --- where it is -------------------------------------------------------------------------------
 */

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As execvp(): the first in PATH that may be executed. */
static bool find(const char *name, char path[PATH_MAX])
{
    const char *list = getenv("PATH");
    struct tw_view rest = tw_view_of(list ? list : "/bin:/usr/bin");

    if (strchr(name, '/'))
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && is_program(path);
    while (*name && rest.data) {
        struct tw_view folder = tw_view_cut(&rest, ':');
        int len = snprintf(path, PATH_MAX, "%.*s%s%s", (int)folder.len, folder.data,
                           folder.len ? "/" : "", name);

        if (len < PATH_MAX && is_program(path))
            return true;
    }
    return false;
}

static void open_program(struct program *program)
{
    int fd = open(program->path, O_RDONLY | O_CLOEXEC);
    void *map = MAP_FAILED;

    program->data = NULL;
    program->size = 0;
    if (fd < 0 || fstat(fd, &program->st)) {
        /* Who may execute and not read it: LD_PRELOAD works all the same. */
        if (stat(program->path, &program->st))
            program->st = (struct stat){0};
    } else if (program->st.st_size > 0) {
        map = mmap(NULL, (size_t)program->st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (map != MAP_FAILED) {
        program->data = map;
        program->size = (size_t)program->st.st_size;
    }
    if (fd >= 0)
        close(fd);
}

static void close_program(struct program *program)
{
    if (program->data)
        munmap(program->data, program->size);
    program->data = NULL;
}

/* --- what it is --------------------------------------------------------------------------------
 */

static int refuse(const struct program *program, struct tw_error *error, const char *what)
{
    const char *slash = strrchr(program->name, '/');

    return tw_error_set(error, EOPNOTSUPP,
                        "%.80s %s: LD_PRELOAD cannot reach it; --method bpf can (root)",
                        slash ? slash + 1 : program->name, what);
}

static bool is_elf(const struct program *program)
{
    return program->size >= sizeof(file_header) && memcmp(program->data, ELFMAG, SELFMAG) == 0;
}

/* A copy of a table's entry; false when it is not inside of the file. */
static bool entry(const struct program *program, uint64_t offset, uint64_t size, uint64_t index,
                  void *out, size_t want)
{
    uint64_t at = offset + index * size;

    if (size < want || offset > program->size || at > program->size || at < offset ||
        want > program->size - at)
        return false;
    memcpy(out, program->data + at, want);
    return true;
}

/* The path of the dynamic loader; empty when there is none. */
static struct tw_view find_loader(const struct program *program, const file_header *header)
{
    struct tw_view loader = {0};
    segment_header segment;

    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (!entry(program, header->e_phoff, header->e_phentsize, i, &segment, sizeof(segment)))
            break;
        if (segment.p_type != PT_INTERP || segment.p_offset > program->size ||
            segment.p_filesz > program->size - segment.p_offset)
            continue;
        loader.data = (const char *)program->data + segment.p_offset;
        loader.len = strnlen(loader.data, segment.p_filesz);
        break;
    }
    return loader;
}

static bool is_section(const struct program *program, const section_header *names, uint32_t at,
                       const char *wanted)
{
    size_t len = strlen(wanted) + 1;

    return names->sh_offset <= program->size && at < names->sh_size &&
           names->sh_size <= program->size - names->sh_offset && len <= names->sh_size - at &&
           memcmp(program->data + names->sh_offset + at, wanted, len) == 0;
}

/* Go programs make their system calls themselves, with cgo and a dynamic loader too. */
static bool is_go(const struct program *program, const file_header *header)
{
    section_header names, section;

    if (!entry(program, header->e_shoff, header->e_shentsize, header->e_shstrndx, &names,
               sizeof(names)))
        return false;
    for (unsigned i = 0; i < header->e_shnum; i++) {
        if (!entry(program, header->e_shoff, header->e_shentsize, i, &section, sizeof(section)))
            return false;
        if (is_section(program, &names, section.sh_name, ".go.buildinfo") ||
            is_section(program, &names, section.sh_name, ".note.go.buildid"))
            return true;
    }
    return false;
}

static bool is_musl(struct tw_view loader)
{
    return memmem(loader.data, loader.len, "/ld-musl", strlen("/ld-musl")) != NULL;
}

/* Which machine we are ourselves. */
static unsigned our_machine(void)
{
    file_header header = {0};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (read(fd, &header, sizeof(header)) != sizeof(header))
            header.e_machine = EM_NONE;
        close(fd);
    }
    return header.e_machine;
}

static int check_elf(const struct program *program, struct tw_error *error)
{
    unsigned machine = our_machine();
    struct tw_view loader;
    file_header header;

    memcpy(&header, program->data, sizeof(header));
    if (header.e_ident[EI_CLASS] != OUR_CLASS)
        return refuse(program, error,
                      OUR_CLASS == ELFCLASS64 ? "is a 32-bit program, and tidewait has 64"
                                              : "is a 64-bit program, and tidewait has 32");
    if (machine != EM_NONE && header.e_machine != machine)
        return refuse(program, error, "is for another kind of processor than tidewait");
    if (is_go(program, &header))
        return refuse(program, error, "is a Go program, which calls the kernel without libc");
    loader = find_loader(program, &header);
    if (!loader.data)
        return refuse(program, error, "is static");
#ifdef __GLIBC__
    if (is_musl(loader))
        return refuse(program, error, "uses the C library musl, and tidewait another one");
#endif
    return 0;
}

/* Where the dynamic loader leaves LD_PRELOAD out of account (AT_SECURE). */
static int check_privileges(const struct program *program, struct tw_error *error)
{
    struct statvfs fs;
    bool counts = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 &&
                  !(statvfs(program->path, &fs) == 0 && fs.f_flag & ST_NOSUID);

    if (!counts)
        return 0;
    if (program->st.st_mode & S_ISUID && program->st.st_uid != getuid())
        return refuse(program, error, "is setuid");
    if ((program->st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
        program->st.st_gid != getgid())
        return refuse(program, error, "is setgid");
    if (getuid() != 0 && getxattr(program->path, "security.capability", NULL, 0) > 0)
        return refuse(program, error, "has file capabilities");
    return 0;
}

/* --- scripts -----------------------------------------------------------------------------------
 */

/* Whether a path ends with this name. */
static bool is_named(struct tw_view path, const char *name)
{
    size_t len = strlen(name);

    return path.len >= len && memcmp(path.data + path.len - len, name, len) == 0;
}

/* The program behind "#!"; of `env` the first argument that is neither an option nor a variable.
 * False when the line says nothing of use. */
static bool find_interpreter(const struct program *program, char name[PATH_MAX])
{
    struct tw_view text = {(const char *)program->data + 2, program->size - 2};
    struct tw_view line = tw_view_cut(&text, '\n'), words = tw_view_cut(&line, '\0');
    struct tw_view word = tw_view_word(&words, " \t\r");

    if (is_named(word, "/env"))
        do
            word = tw_view_word(&words, " \t\r");
        while (word.len && (word.data[0] == '-' || memchr(word.data, '=', word.len)));
    if (!word.len || word.len >= PATH_MAX)
        return false;
    memcpy(name, word.data, word.len);
    name[word.len] = 0;
    return true;
}

/* One program. Returns 1 with the name of its interpreter when it is a script. */
static int check(struct program *program, char interpreter[PATH_MAX], struct tw_error *error)
{
    int rc = 0;

    open_program(program);
    if (program->size >= 2 && memcmp(program->data, "#!", 2) == 0)
        rc = find_interpreter(program, interpreter) ? 1 : 0;
    else if (is_elf(program))
        rc = check_elf(program, error);
    /* The set-id bits of a script have no effect. */
    if (rc == 0 && (is_elf(program) || !program->data))
        rc = check_privileges(program, error);
    close_program(program);
    return rc;
}

int exec_reach(const char *name, struct tw_error *error)
{
    struct program program = {.name = name};
    char interpreter[PATH_MAX];

    for (int i = 0; i <= SCRIPTS_MAX; i++) {
        int rc;

        if (!find(program.name, program.path))
            return 0;
        rc = check(&program, interpreter, error);
        if (rc <= 0)
            return rc;
        memcpy(program.script, interpreter, sizeof(interpreter));
        program.name = program.script;
    }
    return 0;
}
