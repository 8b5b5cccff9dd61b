/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "outbox.h"

struct outbox_message {
	struct outbox_message *next;
	int fd;
	size_t size;
	uint8_t bytes[];
};

void
outbox_init(struct outbox *outbox, int socket)
{
	*outbox = (struct outbox){ .socket = socket, .last = &outbox->first };
}

static void
close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void
drop_first(struct outbox *outbox)
{
	struct outbox_message *message = outbox->first;

	outbox->first = message->next;
	if (outbox->first == NULL)
		outbox->last = &outbox->first;
	outbox->bytes -= message->size;
	close_fd(message->fd);
	free(message);
}

void
outbox_clear(struct outbox *outbox)
{
	while (outbox->first != NULL)
		drop_first(outbox);
}

/* One sendmsg(2): 0, or a negative errno. */
static int
send_now(int socket, const void *bytes, size_t size, int fd)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	while (sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int
outbox_send(struct outbox *outbox, const void *message, size_t size, int fd)
{
	struct outbox_message *queued;
	int err;

	if (outbox_is_empty(outbox)) {
		err = send_now(outbox->socket, message, size, fd);
		if (err != -EAGAIN) {
			close_fd(fd);
			return err;
		}
	}
	err = -ENOBUFS;
	if (outbox->bytes + size > OUTBOX_LIMIT)
		goto fail;
	err = -ENOMEM;
	queued = malloc(sizeof(*queued) + size);
	if (queued == NULL)
		goto fail;
	*queued = (struct outbox_message){ .fd = fd, .size = size };
	memcpy(queued->bytes, message, size);
	*outbox->last = queued;
	outbox->last = &queued->next;
	outbox->bytes += size;
	return 0;
fail:
	close_fd(fd);
	return err;
}

int
outbox_flush(struct outbox *outbox)
{
	while (!outbox_is_empty(outbox)) {
		const struct outbox_message *message = outbox->first;
		int err = send_now(outbox->socket, message->bytes, message->size, message->fd);

		if (err == -EAGAIN)
			return 0;
		if (err != 0)
			return err;
		drop_first(outbox);
	}
	return 0;
}
