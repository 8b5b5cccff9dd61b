/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages on their way to a client that may be slow. */
#ifndef DPCAP_OUTBOX_H
#define DPCAP_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

struct outbox {
	int socket;
	struct outbox_message *first, **last;
	size_t bytes;
};

/* Bytes that may wait; a client that lets more gather is not reading. */
#define OUTBOX_LIMIT (1 << 20)

void outbox_init(struct outbox *outbox, int socket);

/* Drop everything that waits. */
void outbox_clear(struct outbox *outbox);

static inline bool
outbox_is_empty(const struct outbox *outbox)
{
	return outbox->first == NULL;
}

/*
 * Send a message with a descriptor, or -1 for none, now or when the socket takes it.
 * The descriptor is closed when sent. Returns 0, -ENOBUFS (too much waits), -ENOMEM, or
 * what sendmsg(2) says: then the session is over.
 */
int outbox_send(struct outbox *outbox, const void *message, size_t size, int fd);

/* The socket can be written: send what it takes. Errors as above. */
int outbox_flush(struct outbox *outbox);

#endif /* DPCAP_OUTBOX_H */
