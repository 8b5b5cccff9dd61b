/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connected client. Everything here runs on the control thread and never waits:
 * what the socket does not take now is queued, within limits.
 */
#ifndef DPCAP_SESSION_H
#define DPCAP_SESSION_H

#include <stdbool.h>
#include <stdint.h>

struct session;

/* Take over a connected, non-blocking SOCK_SEQPACKET. NULL: out of memory, fd is closed. */
struct session *session_new(int fd);

/* Take the session's hooks out; its memory goes when no lcore uses it. Does not close fd. */
void session_free(struct session *session);

/* The socket can be read (written): false when the session is over. */
bool session_readable(struct session *session);
bool session_writable(struct session *session);

/* Whether messages wait for the socket. */
bool session_wants_write(const struct session *session);

/* Whether it captures: then session_follow_ports() has to be called now and then. */
bool session_is_attached(const struct session *session);

/*
 * What the client asks of all sessions: DPCAP_MSG_PARK, DPCAP_MSG_WAKE, or 0. When it is
 * done session_done() answers, with the number of captures that were ended.
 */
uint16_t session_asks(const struct session *session);
void session_done(struct session *session, uint32_t ended);

/* Refuse captures from now on, or no longer. */
void sessions_park(bool parked);

/* New queues and devices get rings, closed ports close theirs. false: the session is over. */
bool session_follow_ports(struct session *session);

#endif /* DPCAP_SESSION_H */
