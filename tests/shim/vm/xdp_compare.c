/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests/ubpf_host/test_xdp.py: the XDP programs of an object, here and in the kernel.
 *
 *	vm_xdp_compare OBJECT < PACKETS
 *
 * PACKETS are records of a 16-bit length and so many bytes. Each program gives a line
 *
 *	NAME	OURS	KERNEL	RUNS
 *
 * OURS and KERNEL being "accepted", the reason of the refusal (its last line), or, for the
 * kernel, "skipped": bpf(2) is not allowed here. RUNS is how many packets were run, with equal
 * results; the first one that differs ends the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dpcap_vm.h"
#include "kernel_xdp.h"

#define MAX_PACKETS 4096
#define MAX_PACKET 2048
#define MAX_MAPS 16
#define LOG_SIZE (1 << 20)

/* Where the kernel's struct xdp_md has its fields, and where this has. */
struct context {
	const uint8_t *data, *data_end;
	uint32_t interface, queue;
};

static const struct dpcap_vm_ctx_field fields[] = {
	{.offset = 0, .size = 4, .host_offset = offsetof(struct context, data), .host_size = 8,
	 .kind = DPCAP_VM_CTX_PACKET},
	{.offset = 4, .size = 4, .host_offset = offsetof(struct context, data_end), .host_size = 8,
	 .kind = DPCAP_VM_CTX_PACKET_END},
	{.offset = 12, .size = 4, .host_offset = offsetof(struct context, interface), .host_size = 4},
	{.offset = 16, .size = 4, .host_offset = offsetof(struct context, queue), .host_size = 4},
};

static struct {
	uint16_t len;
	uint8_t bytes[MAX_PACKET];
} packets[MAX_PACKETS];
static uint32_t n_packets;

/* Each engine has maps of its own. */
enum engine { INTERP, JIT, N_ENGINES };

static char kernel_log[LOG_SIZE], our_log[LOG_SIZE];

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void read_packets(void)
{
	uint16_t len;

	while (fread(&len, sizeof(len), 1, stdin) == 1) {
		if (n_packets == MAX_PACKETS || len > MAX_PACKET ||
		    fread(packets[n_packets].bytes, 1, len, stdin) != len)
			fail("packets", "too many, too long or cut off");
		packets[n_packets++].len = len;
	}
}

static struct dpcap_vm_object *open_object(const char *path)
{
	static uint8_t image[1 << 20];
	struct dpcap_vm_object *object;
	FILE *file = fopen(path, "rb");
	size_t size;

	if (!file)
		fail(path, strerror(errno));
	size = fread(image, 1, sizeof(image), file);
	fclose(file);
	if (dpcap_vm_object_open(image, size, 1, &object, our_log, sizeof(our_log)))
		fail(path, our_log);
	return object;
}

static struct dpcap_vm_prog *load(const struct dpcap_vm_object *object, uint32_t index)
{
	const struct dpcap_vm_object_program *program;
	struct dpcap_vm_load_attr attr = {
		.type = DPCAP_VM_CONTEXT,
		.ctx_fields = fields,
		.n_ctx_fields = sizeof(fields) / sizeof(fields[0]),
	};
	struct dpcap_vm_prog *prog = NULL;
	uint32_t n;

	program = &dpcap_vm_object_programs(object, &n)[index];
	attr.insns = program->insns;
	attr.n_insns = program->n_insns;
	attr.maps = dpcap_vm_object_maps(object, &attr.n_maps);
	attr.helpers = dpcap_vm_helpers(&attr.n_helpers);
	if (dpcap_vm_load(&attr, &prog, our_log, sizeof(our_log)))
		return NULL;
	return prog;
}

/* -1: refused, -2: bpf(2) is not allowed. */
static int load_into_kernel(const struct dpcap_vm_object *object,
			    const struct dpcap_vm_object_program *program)
{
	uint32_t n;
	struct dpcap_vm_map *const *maps = dpcap_vm_object_maps(object, &n);
	int fds[MAX_MAPS], prog = -2;

	if (n > MAX_MAPS)
		fail(program->name, "too many maps");
	for (uint32_t i = 0; i < n; i++)
		fds[i] = kernel_xdp_map(maps[i]);
	if (n && fds[0] == -EPERM)
		return -2;
	prog = kernel_xdp_load(program->insns, program->n_insns, fds, kernel_log, sizeof(kernel_log));
	if (prog < 0 && errno == EPERM && !kernel_log[0])
		prog = -2;
	for (uint32_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return prog;
}

static uint32_t run(struct dpcap_vm_prog *prog, enum engine engine, const uint8_t *packet, uint32_t len)
{
	struct context context = {packet, packet + len, 1, 0};

	if (engine == INTERP)
		return (uint32_t)dpcap_vm_interp(prog, &context, 0, 0, 0);
	return (uint32_t)dpcap_vm_jit_entry(prog)(&context, 0, 0, 0);
}

/* The number of packets run. */
static uint32_t compare(const char *name, struct dpcap_vm_prog *const progs[N_ENGINES], int kernel)
{
	uint32_t runs = 0;

	for (uint32_t i = 0; i < n_packets; i++) {
		/* At the end of its allocation, for sanitizers to see an access behind it. */
		uint32_t len = packets[i].len;
		uint8_t *packet = malloc(len);
		uint32_t wanted;

		memcpy(packet, packets[i].bytes, len);
		wanted = kernel >= 0 ? kernel_xdp_run(kernel, packet, len) : run(progs[0], INTERP, packet, len);
		for (int engine = kernel >= 0 ? INTERP : JIT; engine < N_ENGINES; engine++) {
			uint32_t got = run(progs[engine], (enum engine)engine, packet, len);

			if (got == wanted)
				continue;
			fprintf(stderr, "%s: packet %u of %u bytes: %s gives %#x, %s %#x\n", name, i, len,
				engine == INTERP ? "the interpreter" : "the JIT", got,
				kernel >= 0 ? "the kernel" : "the interpreter", wanted);
			exit(1);
		}
		free(packet);
		runs++;
	}
	return runs;
}

/* Of a log, the line that says why: ours is the first, the kernel's the last but its statistics. */
static const char *reason(char *log, int kernel)
{
	char *line = log, *end;

	if (!kernel) {
		log[strcspn(log, "\n")] = '\0';
		return log;
	}
	end = strstr(log, "\nprocessed ");
	if (end)
		*end = '\0';
	end = strrchr(log, '\n');
	return end ? end + 1 : line;
}

static void compare_program(const char *path, uint32_t index)
{
	const struct dpcap_vm_object_program *program;
	struct dpcap_vm_object *objects[N_ENGINES];
	struct dpcap_vm_prog *progs[N_ENGINES];
	uint32_t n, runs = 0;
	int kernel;

	for (int engine = 0; engine < N_ENGINES; engine++) {
		objects[engine] = open_object(path);
		progs[engine] = load(objects[engine], index);
	}
	program = &dpcap_vm_object_programs(objects[0], &n)[index];
	kernel_log[0] = '\0';
	kernel = load_into_kernel(objects[0], program);
	if (progs[JIT] && dpcap_vm_jit(progs[JIT]) == -ENOTSUP) {
		dpcap_vm_free(progs[JIT]);
		progs[JIT] = NULL;
	}
	if (progs[INTERP] && progs[JIT])
		runs = compare(program->name, progs, kernel);
	printf("%s\t%s\t%s\t%u\n", program->name, progs[INTERP] ? "accepted" : reason(our_log, 0),
	       kernel >= 0 ? "accepted" : kernel == -2 ? "skipped" : reason(kernel_log, 1), runs);
	if (kernel >= 0)
		close(kernel);
	for (int engine = 0; engine < N_ENGINES; engine++) {
		dpcap_vm_free(progs[engine]);
		dpcap_vm_object_free(objects[engine]);
	}
}

int main(int argc, char **argv)
{
	struct dpcap_vm_object *object;
	uint32_t n;

	if (argc != 2)
		fail("usage", "vm_xdp_compare OBJECT < PACKETS");
	read_packets();
	object = open_object(argv[1]);
	dpcap_vm_object_programs(object, &n);
	dpcap_vm_object_free(object);
	for (uint32_t i = 0; i < n; i++)
		compare_program(argv[1], i);
	return 0;
}
