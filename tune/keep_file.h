/*
 * keep_file.h - files that are replaced at one stroke: after a crash or a power failure there is
 * the whole old one or the whole new one, on the disk.
 */
#ifndef KEEP_FILE_H
#define KEEP_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tidewait/error.h"

struct keep_folder {
    int fd;
    char path[PATH_MAX]; /* for the words */
};

/* Opens root + path. With `make`, folders that are missing are made, mode 0755. Below a root that
 * is not empty no symbolic link is followed: it could lead out of the image. */
int keep_folder_open(struct keep_folder *out, const char *root, const char *path, bool make,
                     struct tw_error *error);
/* Also of one that could not be opened, or is zeroed with fd -1. */
void keep_folder_close(struct keep_folder *folder);

/* All that there is to a file, or that it is not there. */
struct keep_file {
    bool exists;
    char *bytes; /* with a NUL behind; may hold others */
    size_t len;
    mode_t mode; /* permissions alone */
    uid_t uid;
    gid_t gid;
};

/* 0 also when there is no such file. Anything but a plain file is an error. */
int keep_file_read(const struct keep_folder *folder, const char *name, struct keep_file *out,
                   struct tw_error *error);
void keep_file_fini(struct keep_file *file);
bool keep_file_same(const struct keep_file *a, const struct keep_file *b);
bool keep_file_same_bytes(const struct keep_file *a, const struct keep_file *b);

/* Writes NAME.new beside it, to the disk; what can fail for want of room or permission fails here.
 */
int keep_file_stage(const struct keep_folder *folder, const char *name,
                    const struct keep_file *file, struct tw_error *error);
/* Puts what was staged in the place of the file. After an error it may be there, or not. */
int keep_file_commit(const struct keep_folder *folder, const char *name, struct tw_error *error);
/* Removes what was staged, by this process or one that died. */
void keep_file_unstage(const struct keep_folder *folder, const char *name);

/* Makes the file be so: replaces it, or removes it when `file` does not exist. */
int keep_file_put(const struct keep_folder *folder, const char *name, const struct keep_file *file,
                  struct tw_error *error);

#endif
