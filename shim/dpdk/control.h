/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control thread: waits until EAL is up, opens the socket, serves the sessions.
 * At most one in a process.
 */
#ifndef DPCAP_CONTROL_H
#define DPCAP_CONTROL_H

/*
 * Start the thread. Returns 0 (also when it runs already), or a negative errno: the
 * system's, when there are no descriptors or threads left.
 */
int control_start(void);

/*
 * Wait until clients can connect. Returns 0, or the negative errno for which they
 * cannot; the reason has been printed.
 */
int control_wait_ready(void);

/* End all sessions, take the hooks out, end the thread, remove the socket. */
void control_stop(void);

/* At exit of the process: remove the socket. */
void control_unlink(void);

/* In a forked child: let go of everything that belongs to the parent. */
void control_abandon_after_fork(void);

#endif /* DPCAP_CONTROL_H */
