/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket that clients connect to. */
#ifndef DPCAP_LISTENER_H
#define DPCAP_LISTENER_H

#include <stddef.h>

/*
 * Open "dpcap.<pid>.sock" in the directory, which is made when it is missing. Sockets
 * left by dead processes are removed. Returns the listening descriptor and writes its
 * path, or a negative errno with one line about it on stderr.
 */
int listener_open(const char *directory, char *path, size_t path_size);

/*
 * Accept one client of the application's user or root; others are turned away.
 * Returns a non-blocking descriptor, -EAGAIN when nobody waits, -EACCES when somebody
 * was turned away, or what accept(2) says.
 */
int listener_accept(int fd);

#endif /* DPCAP_LISTENER_H */
