/*
 * proc.h - walking through /proc.
 */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The room for "PID/task/TID/fdinfo/FD". */
#define PROC_PATH_MAX 64

/* Opens /proc. Returns the descriptor; -ENODEV when what is there is no proc file system or that of
 * another pid namespace, whose numbers would mean other processes; or -errno. */
int proc_open(void);

/* name: all digits, 10 at most. Returns 0 to go on; any other value ends the walk. */
typedef int proc_visit(int dir, const char *name, void *context);

/* Visits the entries of an open folder whose names are numbers: processes, threads, descriptors.
 * Returns 0, the visitor's value, or -errno. */
int proc_each(int dir, proc_visit *visit, void *context);

/* The same for the folder at `path`. */
int proc_each_at(int dir, const char *path, proc_visit *visit, void *context);

/* Reads a file whole, or as much as fits, and ends it with a NUL. Returns its length or -errno. */
ssize_t proc_read(int dir, const char *path, char *buf, size_t size);

/* The inode in a link like "socket:[123]" or "net:[123]"; 0 when it is none of that type. */
uint64_t proc_link_inode(const char *link, const char *type);

/* readlinkat() with a NUL at the end. Returns the length or -errno. */
ssize_t proc_readlink(int dir, const char *path, char *buf, size_t size);

/* Whether an error means that this user may not look, and not that there is nothing. */
bool proc_refused(int rc);

/* Whether it means that the process ended or has no such file. */
bool proc_gone(int rc);

#endif
