/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "payload.h"

#define LINK "/memfd:" PAYLOAD_NAME " (deleted)"
/* Not F_SEAL_WRITE: it waits for the pages' last users, on all CPUs. This one forbids the same from now on. */
#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

static int
read_all(int fd, char *buf, size_t size)
{
	ssize_t n;

	for (; size > 0; buf += n, size -= (size_t)n) {
		n = read(fd, buf, size);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

int
payload_read(struct payload *payload, const char *path)
{
	struct stat info;
	int fd, err;

	*payload = (struct payload){ .remote = -1, .fd = -1 };
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &info) != 0) {
		err = -errno;
		goto out;
	}
	payload->size = (size_t)info.st_size;
	payload->bytes = malloc(payload->size + 1);
	err = payload->bytes == NULL ? -ENOMEM : read_all(fd, payload->bytes, payload->size);
out:
	if (fd >= 0)
		close(fd);
	return err;
}

void
payload_free(struct payload *payload)
{
	free(payload->bytes);
	if (payload->fd >= 0)
		close(payload->fd);
}

struct search {
	struct payload *payload;
	const struct process *process;
	bool sealed; /* which kind is looked for */
};

bool
payload_is_open(const struct payload *payload, const struct process *process)
{
	char target[sizeof(LINK) + 1];

	return process_read_link(process, target, sizeof(target), "fd/%d", payload->remote) > 0 &&
	       strcmp(target, LINK) == 0;
}

static bool
look_at(int number, void *arg)
{
	struct search *search = arg;
	struct payload *payload = search->payload;
	char path[32];

	payload->remote = number;
	if (payload_is_open(payload, search->process)) {
		snprintf(path, sizeof(path), "fd/%d", number);
		payload->fd = openat(search->process->proc, path, O_RDWR | O_CLOEXEC);
		if (payload->fd >= 0 && ((fcntl(payload->fd, F_GET_SEALS) & F_SEAL_GROW) != 0) == search->sealed)
			return false;
		if (payload->fd >= 0)
			close(payload->fd);
		payload->fd = -1;
	}
	payload->remote = -1;
	return true;
}

int
payload_find(struct payload *payload, const struct process *process)
{
	struct search search = { payload, process, .sealed = false };
	int err = process_each_number(process, "fd", look_at, &search);

	return err != 0 ? err : payload->fd >= 0 ? 0 : -ENOENT;
}

bool
payload_is_being_loaded(const struct process *process)
{
	struct payload found = { .remote = -1, .fd = -1 };
	struct search search = { &found, process, .sealed = true };

	process_each_number(process, "fd", look_at, &search);
	if (found.fd >= 0)
		close(found.fd);
	return found.fd >= 0;
}

int
payload_fill(const struct payload *payload)
{
	size_t done = 0;
	ssize_t n;

	/* An earlier injector may have written a part, of another release. */
	if (ftruncate(payload->fd, 0) != 0)
		return -errno;
	for (; done < payload->size; done += (size_t)n) {
		n = pwrite(payload->fd, payload->bytes + done, payload->size - done, (off_t)done);
		if (n < 0)
			return -errno;
	}
	return 0;
}

int
payload_seal(const struct payload *payload)
{
	return fcntl(payload->fd, F_ADD_SEALS, SEALS) == 0 ? 0 : -errno;
}
