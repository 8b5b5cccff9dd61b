/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "listener.h"

#define BACKLOG 64

/* mkdir -p; existing directories are left as they are. */
static int
make_directory(const char *directory)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	if (snprintf(path, sizeof(path), "%s", directory) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	/* EAL makes its own with this mode. */
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* Whether nobody listens behind the path. (By its pid one cannot tell: containers that
 * share the directory number their processes each for itself.) */
static int
is_stale(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, stale;

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >= (int)sizeof(address.sun_path))
		return 0;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 0;
	stale = connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static void
remove_stale_sockets(const char *directory)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const struct dirent *entry;
	unsigned int pid;
	DIR *dir = opendir(directory);
	int end;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		end = 0;
		if (sscanf(entry->d_name, "dpcap.%u.sock%n", &pid, &end) != 1 || end == 0 ||
		    entry->d_name[end] != '\0')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name) < (int)sizeof(path) &&
		    is_stale(path))
			unlink(path);
	}
	closedir(dir);
}

int
listener_open(const char *directory, char *path, size_t path_size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err, fd = -1;

	err = make_directory(directory);
	if (err != 0)
		goto fail;
	err = -ENAMETOOLONG;
	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/dpcap.%d.sock", directory, (int)getpid()) >=
	    (int)sizeof(address.sun_path))
		goto fail;
	/* Before it is there: whoever ends the process meanwhile knows what to remove. */
	snprintf(path, path_size, "%s", address.sun_path);
	remove_stale_sockets(directory);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode of the unbound socket is that of the file, from its first moment on. */
	if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		err = -errno;
		goto fail;
	}
	if (listen(fd, BACKLOG) != 0) {
		err = -errno;
		unlink(address.sun_path);
		goto fail;
	}
	return fd;
fail:
	path[0] = '\0';
	fprintf(stderr, "dpcap: no captures from this process: cannot open %s/dpcap.%d.sock: %s\n", directory,
		(int)getpid(), strerror(-err));
	if (fd >= 0)
		close(fd);
	return err;
}

int
listener_accept(int listening)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
	    (peer.uid != 0 && peer.uid != geteuid())) {
		close(fd);
		return -EACCES;
	}
	return fd;
}
