/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#include "process.h"

int
process_open(struct process *process, pid_t pid)
{
	char path[32];

	*process = (struct process){ .pid = pid };
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	process->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return process->proc < 0 ? -errno : 0;
}

int
process_lock(const struct process *process)
{
	return flock(process->proc, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

void
process_close(struct process *process)
{
	if (process->proc >= 0)
		close(process->proc);
	free(process->regions);
}

/* "7f00-7f10 r-xp 00001000 08:01 1234   /lib/libc.so.6" */
static bool
parse_region(char *line, struct region *region)
{
	char perms[5];
	int path = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %" SCNu64 " %n", &region->start,
		   &region->end, perms, &region->offset, &region->inode, &path) < 5)
		return false;
	region->readable = perms[0] == 'r';
	region->writable = perms[1] == 'w';
	region->executable = perms[2] == 'x';
	snprintf(region->path, sizeof(region->path), "%s", path > 0 ? line + path : "");
	return true;
}

int
process_read_regions(struct process *process)
{
	int fd = openat(process->proc, "maps", O_RDONLY | O_CLOEXEC), err = 0;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	size_t room = 0, size = 0;
	char *line = NULL;

	if (file == NULL) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	process->n_regions = 0;
	while (getline(&line, &size, file) > 0) {
		if (process->n_regions == room || process->regions == NULL) {
			size_t more = room == 0 ? 256 : 2 * room;
			struct region *regions = realloc(process->regions, more * sizeof(*regions));

			if (regions == NULL) {
				err = -ENOMEM;
				break;
			}
			process->regions = regions;
			room = more;
		}
		if (parse_region(line, &process->regions[process->n_regions]))
			process->n_regions++;
	}
	free(line);
	fclose(file);
	return err;
}

const struct region *
process_region(const struct process *process, uint64_t address)
{
	for (size_t i = 0; i < process->n_regions; i++)
		if (address >= process->regions[i].start && address < process->regions[i].end)
			return &process->regions[i];
	return NULL;
}

bool
process_maps(const struct process *process, const char *text)
{
	for (size_t i = 0; i < process->n_regions; i++)
		if (strstr(process->regions[i].path, text) != NULL)
			return true;
	return false;
}

ssize_t
process_read_file(const struct process *process, char *buf, size_t size, const char *format, ...)
{
	char path[64];
	size_t length = 0;
	ssize_t n = 0;
	va_list args;
	int fd;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	fd = openat(process->proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (length < size - 1 && (n = read(fd, buf + length, size - 1 - length)) > 0)
		length += (size_t)n;
	buf[length] = '\0';
	n = n < 0 ? -errno : (ssize_t)length;
	close(fd);
	return n;
}

ssize_t
process_read_link(const struct process *process, char *buf, size_t size, const char *format, ...)
{
	char path[64];
	va_list args;
	ssize_t n;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	n = readlinkat(process->proc, path, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return n;
}

int
process_each_number(const struct process *process, const char *folder, bool (*visit)(int number, void *arg),
		    void *arg)
{
	int fd = openat(process->proc, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	bool more = true;
	int err;

	if (dir == NULL) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (more && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			more = visit(atoi(entry->d_name), arg);
	closedir(dir);
	return 0;
}

long
status_number(const char *status, const char *name, int base, long missing)
{
	const size_t length = strlen(name);
	const char *line;

	for (line = status; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) == 0 && line[length] == ':')
			return strtol(line + length + 1, NULL, base);
	}
	return missing;
}

/* These obey the protection of the target's pages; /proc/PID/mem would not. */
int
process_read(const struct process *process, uint64_t address, void *buf, size_t size)
{
	struct iovec local = { buf, size }, remote = { (void *)(uintptr_t)address, size };

	return process_vm_readv(process->pid, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

int
process_write(const struct process *process, uint64_t address, const void *buf, size_t size)
{
	struct iovec local = { (void *)(uintptr_t)buf, size }, remote = { (void *)(uintptr_t)address, size };

	return process_vm_writev(process->pid, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

void *
process_read_new(const struct process *process, uint64_t address, size_t size)
{
	void *buf = malloc(size == 0 ? 1 : size);

	if (buf != NULL && process_read(process, address, buf, size) != 0) {
		free(buf);
		buf = NULL;
	}
	return buf;
}
