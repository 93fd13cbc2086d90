/*
 * holders_bpf.h - what the BPF program and the library say to each other. Includes nothing: one of
 * the two is not compiled for this machine.
 */
#ifndef HOLDERS_BPF_H
#define HOLDERS_BPF_H

/* The sockets asked for, as a set of their inodes modulo 2^16: the program may report too many,
 * never too few. */
#define HOLDERS_WORDS 1024

struct holders_settings {
    unsigned long long wanted[HOLDERS_WORDS];
    unsigned int found;     /* also those for which `items` had no room */
    unsigned int nested;    /* the reader is not in the first pid namespace */
    unsigned int too_large; /* a table was longer than a program may walk */
    unsigned int moved;     /* tasks that changed their table while it was walked */
};

struct holders_item {
    unsigned int inode;
    unsigned int pid;
    unsigned int fd;
    unsigned int unused; /* the kernel rounds items of an array up to 8 bytes */
};

#endif
