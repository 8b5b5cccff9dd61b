/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of its own, as kernel.c: the names of linux/bpf.h cannot live beside those of isa.h. */
#include "kernel_xdp.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static const uint32_t map_types[] = {
	[DPCAP_VM_MAP_ARRAY] = BPF_MAP_TYPE_ARRAY,
	[DPCAP_VM_MAP_PERCPU_ARRAY] = BPF_MAP_TYPE_PERCPU_ARRAY,
	[DPCAP_VM_MAP_HASH] = BPF_MAP_TYPE_HASH,
	[DPCAP_VM_MAP_LRU_HASH] = BPF_MAP_TYPE_LRU_HASH,
	[DPCAP_VM_MAP_RING] = BPF_MAP_TYPE_RINGBUF,
};

/* What .rodata holds, and no writer any more: the kernel knows it as a constant then. */
static int fill_and_freeze(int fd, const struct dpcap_vm_map *map)
{
	uint32_t key = 0;
	void *value = malloc(dpcap_vm_map_def(map)->value_size);
	union bpf_attr attr = {
		.map_fd = (uint32_t)fd,
		.key = (uintptr_t)&key,
		.value = (uintptr_t)value,
	};
	int rc = value ? dpcap_vm_map_read(map, &key, 0, value) : -ENOMEM;

	if (!rc && bpf(BPF_MAP_UPDATE_ELEM, &attr))
		rc = -errno;
	free(value);
	attr = (union bpf_attr){.map_fd = (uint32_t)fd};
	if (!rc && bpf(BPF_MAP_FREEZE, &attr))
		rc = -errno;
	return rc;
}

int kernel_xdp_map(const struct dpcap_vm_map *map)
{
	const struct dpcap_vm_map_def *def = dpcap_vm_map_def(map);
	union bpf_attr attr = {
		.map_type = map_types[def->type],
		.key_size = def->key_size,
		.value_size = def->value_size,
		.max_entries = def->max_entries,
		.map_flags = def->read_only ? BPF_F_RDONLY_PROG : 0,
	};
	int fd = bpf(BPF_MAP_CREATE, &attr), rc;

	if (fd < 0)
		return -errno;
	rc = def->read_only ? fill_and_freeze(fd, map) : 0;
	if (!rc)
		return fd;
	close(fd);
	return rc;
}

int kernel_xdp_load(const struct dpcap_insn *insns, uint32_t n, const int *map_fds, char *log,
		    uint32_t log_size)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insn_cnt = n,
		.license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log,
		.log_size = log_size,
		.log_level = 1,
	};
	struct bpf_insn *copy = malloc(n * sizeof(*copy));
	int fd;

	if (!copy)
		return -1;
	memcpy(copy, insns, n * sizeof(*copy));
	for (uint32_t pc = 0; pc < n; pc++) {
		if (copy[pc].code != (BPF_LD | BPF_DW | BPF_IMM))
			continue;
		if (copy[pc].src_reg == BPF_PSEUDO_MAP_IDX) {
			copy[pc].src_reg = BPF_PSEUDO_MAP_FD;
			copy[pc].imm = map_fds[copy[pc].imm];
		} else if (copy[pc].src_reg == BPF_PSEUDO_MAP_IDX_VALUE) {
			/* The VM's index 0 is the program's table. */
			copy[pc].src_reg = BPF_PSEUDO_MAP_VALUE;
			copy[pc].imm = map_fds[copy[pc].imm - 1];
		}
		pc++;
	}
	attr.insns = (uintptr_t)copy;
	fd = bpf(BPF_PROG_LOAD, &attr);
	free(copy);
	return fd;
}

uint32_t kernel_xdp_run(int prog, const uint8_t *packet, uint32_t len)
{
	union bpf_attr attr = {
		.test = {
			.prog_fd = (uint32_t)prog,
			.data_in = (uintptr_t)packet,
			.data_size_in = len,
		},
	};

	if (bpf(BPF_PROG_TEST_RUN, &attr)) {
		fprintf(stderr, "BPF_PROG_TEST_RUN of %u bytes: %s\n", len, strerror(errno));
		exit(1);
	}
	return attr.test.retval;
}
