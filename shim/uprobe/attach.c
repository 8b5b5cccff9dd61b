/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach.h"

#define ATTACH_UPROBE_MULTI 48 /* BPF_TRACE_UPROBE_MULTI; not in every release's linux/bpf.h */
#define UPROBE_MULTI_RETURN 1  /* BPF_F_UPROBE_MULTI_RETURN */
#define PMU "/sys/bus/event_source/devices/uprobe/"

/* The part of union bpf_attr for BPF_LINK_CREATE, as of Linux 6.6. */
struct link_create {
	uint32_t program;
	uint32_t target;
	uint32_t attach_type;
	uint32_t flags;
	uint64_t path;
	uint64_t offsets;
	uint64_t ref_ctr_offsets;
	uint64_t cookies;
	uint32_t count;
	uint32_t multi_flags;
	uint32_t pid;
	uint32_t reserved;
};

int
dpcap_uprobe_attach_multi(int program, const char *path, const uint64_t *offsets, uint32_t n, uint32_t pid,
			  int on_return)
{
	struct link_create attr;
	long fd;

	if (n == 0 || n > DPCAP_UPROBE_MAX_PLACES)
		return -EINVAL;
	memset(&attr, 0, sizeof(attr));
	attr.program = (uint32_t)program;
	attr.attach_type = ATTACH_UPROBE_MULTI;
	attr.path = (uint64_t)(uintptr_t)path;
	attr.offsets = (uint64_t)(uintptr_t)offsets;
	attr.count = n;
	attr.multi_flags = on_return ? UPROBE_MULTI_RETURN : 0;
	attr.pid = pid;
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

/* A number from sysfs, or -errno. */
static int
read_number(const char *path, const char *format)
{
	FILE *file = fopen(path, "re");
	int number, n;

	if (file == NULL)
		return -errno;
	n = fscanf(file, format, &number);
	fclose(file);
	return n == 1 ? number : -EIO;
}

int
dpcap_uprobe_attach_perf(int program, const char *path, uint64_t offset, uint32_t pid, int on_return)
{
	struct perf_event_attr attr;
	int type, bit, fd, err;

	type = read_number(PMU "type", "%d");
	bit = read_number(PMU "format/retprobe", "config:%d");
	if (type < 0 || bit < 0)
		return -ENODEV;
	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.type = (uint32_t)type;
	attr.config = on_return ? 1ULL << bit : 0;
	attr.config1 = (uint64_t)(uintptr_t)path;
	attr.config2 = offset;
	fd = (int)syscall(SYS_perf_event_open, &attr, (pid_t)pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) != 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) != 0) {
		err = errno;
		close(fd);
		return -err;
	}
	return fd;
}
