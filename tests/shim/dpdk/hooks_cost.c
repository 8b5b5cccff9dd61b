/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For benchmarks/hooks.py: what the rx and the tx hook add to an application that receives
 * and sends bursts of 32, in TSC cycles a packet. The application is a loop that does to
 * memory what testpmd does over net_pcap: mbufs from a stack, a packet copied into each, the
 * mbufs back. Blocks of bursts with the hooks and without take turns in one thread, and
 * quartiles of hundreds of blocks are compared, so that other processes hardly matter.
 *
 *	hooks_cost loop|random BLOCKS PACKETS [FORM...]
 *
 * PACKETS holds a 32-bit length and the bytes of each packet; a FORM the numbers of
 * instructions and of bytes of tables (32 bits each), then both. Packets come one after
 * the other, again and again, or in random order: predictors learn what repeats itself.
 * Without a FORM the hooks count instead of filtering.
 * Prints a line "cycles BASELINE Q1 MEDIAN Q3", then a line "form COST BURSTS" for each
 * form as the chooser of the rx hook sees it.
 */
#include "mbufs.h"

#include "clock.h"
#include "hooks.h"
#include "proto.h"
#include "queue.h"

#define BURST 32
#define BLOCK 64  /* bursts that are timed */
#define SETTLE 8  /* bursts before them */
#define MBUFS 512 /* on the stack */
#define MBUF_SIZE 2432
#define HEADROOM 128
#define MAX_PACKETS 65536

struct packet {
	uint8_t *bytes;
	uint32_t len;
};

static struct packet packets[MAX_PACKETS];
static uint32_t n_packets, next_packet, random_state = 1;
static struct rte_mbuf *stack[MBUFS];
static uint32_t n_free;

static uint8_t *
read_file(const char *name, size_t *size)
{
	FILE *file = fopen(name, "rb");
	uint8_t *bytes;

	REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
	*size = (size_t)ftell(file);
	rewind(file);
	bytes = malloc(*size + 1);
	REQUIRE(bytes != NULL && fread(bytes, 1, *size, file) == *size);
	fclose(file);
	return bytes;
}

static void
read_packets(const char *name)
{
	size_t size, at = 0;
	uint8_t *bytes = read_file(name, &size);

	while (at < size && n_packets < MAX_PACKETS) {
		struct packet *packet = &packets[n_packets++];

		memcpy(&packet->len, bytes + at, sizeof(packet->len));
		at += sizeof(packet->len);
		REQUIRE(packet->len <= MBUF_SIZE - 2 * HEADROOM && packet->len <= size - at);
		packet->bytes = bytes + at;
		at += packet->len;
	}
	REQUIRE(n_packets > 0);
}

static struct dpcap_vm_prog *
load(const char *name)
{
	const struct dpcap_vm_burst_layout layout = FRAME_BURST_LAYOUT;
	struct dpcap_vm_load_attr attr = { .type = DPCAP_VM_PACKET };
	struct dpcap_vm_prog *prog;
	uint32_t sizes[2];
	char log[4096];
	size_t size;
	uint8_t *bytes = read_file(name, &size);

	REQUIRE(size >= sizeof(sizes));
	memcpy(sizes, bytes, sizeof(sizes));
	REQUIRE(size == sizeof(sizes) + sizes[0] * sizeof(struct dpcap_insn) + sizes[1]);
	attr.insns = (const struct dpcap_insn *)(bytes + sizeof(sizes));
	attr.n_insns = sizes[0];
	attr.rodata_size = sizes[1];
	attr.rodata = sizes[1] == 0 ? NULL : (const uint8_t *)(attr.insns + sizes[0]);
	if (dpcap_vm_load(&attr, &prog, log, sizeof(log)) != 0) {
		fprintf(stderr, "%s: %s\n", name, log);
		exit(1);
	}
	REQUIRE(dpcap_vm_jit(prog) == 0 && dpcap_vm_jit_burst(prog, &layout) == 0);
	free(bytes);
	return prog;
}

static struct sink *
attach(struct queue_ctx *ctx, struct dpcap_vm_prog *const *progs, const dpcap_vm_burst_fn *bursts, uint32_t n)
{
	const struct dpcap_ring_params params = { .direction = ctx->direction, .snaplen = DPCAP_SNAPLEN_MAX };
	struct sink *sink = aligned_alloc(_Alignof(struct sink), sizeof(*sink));

	REQUIRE(sink != NULL);
	*sink = (struct sink){
		.burst = bursts[0],
		.bursts = bursts,
		.bursts_left = 1,
		.jit = dpcap_vm_jit_entry(progs[0]),
		.prog = progs[0],
		.ring = dpcap_ring_create(&params),
		.whole = true,
		.ctx = ctx,
	};
	REQUIRE(sink->ring != NULL);
	chooser_init(&sink->chooser, n, ctx->direction);
	queue_add(ctx, sink);
	return sink;
}

static struct sink *
attach_counting(struct queue_ctx *ctx)
{
	struct watch *watch = watch_new();
	struct sink *sink = aligned_alloc(_Alignof(struct sink), sizeof(*sink));

	REQUIRE(watch != NULL && sink != NULL);
	*sink = (struct sink){
		.counters = watch_slot(watch, ctx->port, ctx->queue, ctx->direction),
		.ctx = ctx,
	};
	queue_add(ctx, sink);
	return sink;
}

static void
make_mbufs(void)
{
	/* As with hugepages: where the kernel gives some, no TLB misses. */
	char *memory = aligned_alloc(2 << 20, 2 << 20);

	REQUIRE(memory != NULL);
	memset(memory, 0, 2 << 20);
	while (n_free < MBUFS) {
		struct rte_mbuf *m = (struct rte_mbuf *)(memory + (size_t)n_free * MBUF_SIZE);

		m->buf_addr = m + 1;
		stack[n_free++] = m;
	}
}

static const struct packet *
draw(bool at_random)
{
	if (at_random) {
		random_state = random_state * 1664525 + 1013904223;
		return &packets[(uint64_t)random_state * n_packets >> 32];
	}
	if (next_packet == n_packets)
		next_packet = 0;
	return &packets[next_packet++];
}

static void
receive(struct rte_mbuf **pkts, bool at_random)
{
	for (uint32_t i = 0; i < BURST; i++) {
		pkts[i] = stack[--n_free];
		pkts[i]->data_off = HEADROOM;
		pkts[i]->nb_segs = 1;
		pkts[i]->ol_flags = 0;
	}
	for (uint32_t i = 0; i < BURST; i++) {
		const struct packet *packet = draw(at_random);

		memcpy((char *)pkts[i]->buf_addr + HEADROOM, packet->bytes, packet->len);
		pkts[i]->data_len = (uint16_t)packet->len;
		pkts[i]->pkt_len = packet->len;
	}
}

/* Forward a block; returns cycles a packet. The rings are emptied meanwhile. */
static double
forward(struct sink *const sinks[2], bool hooked, bool at_random)
{
	struct rte_mbuf *pkts[BURST];
	uint64_t start = 0;

	for (uint32_t i = 0; i < SETTLE + BLOCK; i++) {
		if (i == SETTLE)
			start = dpcap_clock_ticks(&hooks_clock);
		receive(pkts, at_random);
		if (hooked) {
			hooks_rx(0, 0, pkts, BURST, BURST, sinks[0]->ctx);
			hooks_tx(0, 0, pkts, BURST, sinks[1]->ctx);
			for (uint32_t k = 0; k < 2 && sinks[k]->ring != NULL; k++)
				atomic_store(&sinks[k]->ring->shm->tail, sinks[k]->ring->head);
		}
		for (uint32_t k = BURST; k > 0; k--)
			stack[n_free++] = pkts[k - 1];
	}
	return (double)dpcap_clock_passed(&hooks_clock, start) / (BLOCK * BURST);
}

static int
ascending(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	struct dpcap_vm_prog *progs[CHOOSER_MAX_FORMS];
	dpcap_vm_burst_fn bursts[CHOOSER_MAX_FORMS];
	double *cycles[2];
	struct sink *sinks[2];
	uint32_t n_blocks, n_forms = (uint32_t)argc - 4;
	bool at_random;

	REQUIRE(argc >= 4 && n_forms <= CHOOSER_MAX_FORMS);
	at_random = strcmp(argv[1], "random") == 0;
	n_blocks = (uint32_t)strtoul(argv[2], NULL, 10);
	REQUIRE(n_blocks > 0);
	queue_init();
	dpcap_clock_init(&hooks_clock, NULL);
	use_next_place(NEXT_CLASSIC);
	read_packets(argv[3]);
	make_mbufs();
	for (uint32_t i = 0; i < n_forms; i++) {
		progs[i] = load(argv[4 + i]);
		bursts[i] = dpcap_vm_burst_entry(progs[i]);
	}
	for (uint32_t k = 0; k < 2; k++) {
		struct queue_ctx *ctx = queue_ctx_get(0, 0, k == 0 ? DPCAP_DIRECTION_IN : DPCAP_DIRECTION_OUT);

		sinks[k] = n_forms > 0 ? attach(ctx, progs, bursts, n_forms) : attach_counting(ctx);
	}
	cycles[0] = malloc(n_blocks * sizeof(double));
	cycles[1] = malloc(n_blocks * sizeof(double));
	REQUIRE(cycles[0] != NULL && cycles[1] != NULL);

	/* The first half is for predictors and the chooser. */
	for (uint32_t i = 0; i < 2 * n_blocks; i++)
		for (uint32_t hooked = 0; hooked < 2; hooked++)
			cycles[hooked][i % n_blocks] = forward(sinks, hooked, at_random);
	for (uint32_t hooked = 0; hooked < 2; hooked++)
		qsort(cycles[hooked], n_blocks, sizeof(double), ascending);
	printf("cycles %.3f", cycles[0][n_blocks / 2]);
	for (uint32_t quarter = 1; quarter < 4; quarter++)
		printf(" %.3f", cycles[1][n_blocks * quarter / 4] - cycles[0][n_blocks * quarter / 4]);
	printf("\n");
	for (uint32_t i = 0; i < n_forms; i++)
		printf("form %.3f %llu\n", (double)sinks[0]->chooser.cost[i] / CHOOSER_COST_ONE,
		       (unsigned long long)sinks[0]->chooser.ran[i]);
	return CHECK_RESULT();
}
