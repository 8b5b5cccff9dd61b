/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program becomes a local function of a kernel program that calls it with the value of
 * an array map as its memory, and puts r0 behind it:
 *
 *	+--------------------+---------+
 *	| memory             | r0      |
 *	+--------------------+---------+
 *	0                    mem_size
 *
 * The map is mapped here, so that a run costs one system call. The names of linux/bpf.h
 * cannot live beside those of isa.h, which is why this is a file of its own.
 */
#include "kernel.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000 /* the answer takes a millisecond */

static uint8_t *value;
static uint32_t value_mem_size;
static int map_fd;

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/*
 * A kernel that is stuck never answers, and who asked cannot be killed (Linux 6.18 was
 * seen to wait for ever in bpf_prog_pack_alloc()): so a child asks, and is left behind if
 * need be. It keeps none of our files open.
 */
static bool kernel_answers(void)
{
	struct sock_filter nothing = {.code = BPF_RET | BPF_K};
	struct sock_fprog filter = {.len = 1, .filter = &nothing};
	struct pollfd ended = {.events = POLLIN};
	bool answers = false;
	int status;
	pid_t child = fork();

	if (child == 0) {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		_exit(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0);
	}
	ended.fd = child < 0 ? -1 : (int)syscall(SYS_pidfd_open, child, 0);
	if (ended.fd >= 0 && poll(&ended, 1, PATIENCE_MS) == 1)
		answers = waitpid(child, &status, 0) == child && WIFEXITED(status) &&
			WEXITSTATUS(status) == 0;
	if (ended.fd >= 0)
		close(ended.fd);
	return answers;
}

bool kernel_open(uint32_t mem_size)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = mem_size + 8,
		.max_entries = 1,
		.map_flags = BPF_F_MMAPABLE,
	};

	if (!kernel_answers()) {
		fprintf(stderr, "skipped: the kernel takes no BPF programs, or does not answer\n");
		return false;
	}
	map_fd = bpf(BPF_MAP_CREATE, &attr);
	if (map_fd < 0) {
		fprintf(stderr, "skipped: bpf(2): %s\n", strerror(errno));
		return false;
	}
	value = mmap(NULL, mem_size + 8, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (value == MAP_FAILED) {
		fprintf(stderr, "skipped: mmap of a map: %s\n", strerror(errno));
		return false;
	}
	value_mem_size = mem_size;
	return true;
}

int kernel_load(const struct dpcap_insn *insns, uint32_t n, char *log, uint32_t log_size)
{
	const struct bpf_insn prologue[] = {
		/* r1 = the map's value */
		{.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE,
		 .imm = map_fd},
		{.code = 0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = (int)value_mem_size},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4},
		{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = 5},
		{.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE,
		 .imm = map_fd},
		{.code = 0},
		{.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 1, .src_reg = 0,
		 .off = (short)value_mem_size},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const size_t n_prologue = sizeof(prologue) / sizeof(prologue[0]);
	union bpf_attr attr = {
		/* The type with the cheapest BPF_PROG_TEST_RUN. */
		.prog_type = BPF_PROG_TYPE_SYSCALL,
		.prog_flags = BPF_F_SLEEPABLE,
		.insn_cnt = (uint32_t)n_prologue + n,
		.license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log,
		.log_size = log ? log_size : 0,
		.log_level = log ? 1 : 0,
	};
	struct bpf_insn *all = malloc((n_prologue + n) * sizeof(*all));
	int fd;

	if (!all)
		return -1;
	memcpy(all, prologue, sizeof(prologue));
	memcpy(all + n_prologue, insns, n * sizeof(*all));
	attr.insns = (uintptr_t)all;
	fd = bpf(BPF_PROG_LOAD, &attr);
	free(all);
	return fd;
}

uint64_t kernel_run(int prog, uint8_t *mem)
{
	union bpf_attr attr = {.test.prog_fd = (uint32_t)prog};
	uint64_t result;

	memcpy(value, mem, value_mem_size);
	memset(value + value_mem_size, 0xee, 8);
	if (bpf(BPF_PROG_TEST_RUN, &attr) != 0) {
		fprintf(stderr, "BPF_PROG_TEST_RUN: %s\n", strerror(errno));
		exit(1);
	}
	memcpy(mem, value, value_mem_size);
	memcpy(&result, value + value_mem_size, sizeof(result));
	return result;
}
