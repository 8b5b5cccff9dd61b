/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hooks on mbufs of any make, and their publication under fire: sessions come and
 * go while threads send and receive. A hook that used what was freed would write into
 * unmapped memory; ASan sees the rest.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mbufs.h"

#include "epb.h"
#include "hooks.h"
#include "proto.h"
#include "queue.h"

static const struct dpcap_insn accept_all[] = {
	{ .opcode = 0xb7, .imm = 262144 }, /* r0 = 262144 */
	{ .opcode = 0x95 },
};
/* Keeps packets of which byte 50 is 1. */
static const struct dpcap_insn by_byte[] = {
	{ .opcode = 0xb7, .regs = 0 },		    /* r0 = 0 */
	{ .opcode = 0xa5, .regs = 2, .offset = 3, .imm = 51 }, /* if r2 < 51 goto exit */
	{ .opcode = 0x71, .regs = 0x13, .offset = 50 },	    /* r3 = *(u8 *)(r1 + 50) */
	{ .opcode = 0x55, .regs = 3, .offset = 1, .imm = 1 },  /* if r3 != 1 goto exit */
	{ .opcode = 0xb7, .imm = 262144 },		    /* r0 = 262144 */
	{ .opcode = 0x95 },
};
/* The same by other means: the length after the load's place, the verdict by arithmetic. */
static const struct dpcap_insn by_byte_flat[] = {
	{ .opcode = 0xb7, .regs = 0 },			       /* r0 = 0 */
	{ .opcode = 0x25, .regs = 2, .offset = 1, .imm = 50 }, /* if r2 > 50 goto load */
	{ .opcode = 0x95 },
	{ .opcode = 0x71, .regs = 0x10, .offset = 50 },	       /* load: r0 = *(u8 *)(r1 + 50) */
	{ .opcode = 0xa7, .regs = 0, .imm = 1 },	       /* r0 ^= 1 */
	{ .opcode = 0x17, .regs = 0, .imm = 1 },	       /* r0 -= 1: all ones if it was 1 */
	{ .opcode = 0x77, .regs = 0, .imm = 63 },	       /* r0 >>= 63 */
	{ .opcode = 0x95 },
};
/* r0 = r4 >> 32 == port 5 and direction 1 and queue 3 */
static const struct dpcap_insn by_meta[] = {
	{ .opcode = 0xb7 },				       /* r0 = 0 */
	{ .opcode = 0x18, .regs = 3, .imm = 3 << 16 | 1 },     /* r3 = 5 << 32 | 3 << 16 | 1 */
	{ .opcode = 0x00, .imm = 5 },
	{ .opcode = 0x5d, .regs = 0x34, .offset = 1 },	       /* if r4 != r3 goto exit */
	{ .opcode = 0xb7, .imm = 262144 },
	{ .opcode = 0x95 },
};

#define LOAD(program) load(program, sizeof(program) / sizeof((program)[0]))

static struct dpcap_vm_prog *
load(const struct dpcap_insn *insns, uint32_t n)
{
	const struct dpcap_vm_load_attr attr = { .insns = insns, .n_insns = n, .type = DPCAP_VM_PACKET };
	const struct dpcap_vm_burst_layout layout = FRAME_BURST_LAYOUT;
	struct dpcap_vm_prog *prog;
	char log[4096];
	int err = dpcap_vm_load(&attr, &prog, log, sizeof(log));

	if (err != 0)
		fprintf(stderr, "%s\n", log);
	REQUIRE(err == 0);
	REQUIRE(dpcap_vm_jit(prog) == 0);
	REQUIRE(dpcap_vm_jit_burst(prog, &layout) == 0);
	return prog;
}

enum engine { BURST, JIT, INTERP };

static struct sink *
new_sink(struct queue_ctx *ctx, const struct dpcap_vm_prog *prog, enum engine engine, uint64_t ring_size)
{
	const struct dpcap_ring_params params = {
		.data_size = ring_size,
		.port = ctx->port,
		.queue = ctx->queue,
		.direction = ctx->direction,
		.snaplen = 262144,
	};
	struct sink *sink = aligned_alloc(64, (sizeof(*sink) + 63) & ~63ULL);

	REQUIRE(sink != NULL);
	*sink = (struct sink){
		.burst = engine == BURST ? dpcap_vm_burst_entry(prog) : NULL,
		.bursts = &sink->burst,
		.bursts_left = 1,
		.jit = engine == INTERP ? NULL : dpcap_vm_jit_entry(prog),
		.prog = prog,
		.ring = dpcap_ring_create(&params),
		.meta = (uint64_t)ctx->port << DPCAP_VM_META_PORT_SHIFT |
			(uint64_t)ctx->queue << DPCAP_VM_META_QUEUE_SHIFT | ctx->direction,
		.whole = engine == BURST,
		.ctx = ctx,
	};
	REQUIRE(sink->ring != NULL);
	chooser_init(&sink->chooser, 1, 1);
	return sink;
}

/* One that counts; prog NULL: without a filter. */
static struct sink *
new_counting_sink(struct queue_ctx *ctx, const struct dpcap_vm_prog *prog, enum engine engine)
{
	struct sink *sink = prog != NULL ? new_sink(ctx, prog, engine, 65536) : aligned_alloc(64, sizeof(*sink));

	REQUIRE(sink != NULL);
	if (prog != NULL)
		dpcap_ring_destroy(sink->ring);
	else
		*sink = (struct sink){ .ctx = ctx };
	sink->ring = NULL;
	sink->watch = watch_new();
	REQUIRE(sink->watch != NULL);
	sink->counters = watch_slot(sink->watch, ctx->port, ctx->queue, ctx->direction);
	return sink;
}

static atomic_uint released;

static void
release_sink(void *object)
{
	struct sink *sink = object;

	dpcap_ring_destroy(sink->ring);
	watch_put(sink->watch);
	free(sink);
	atomic_fetch_add(&released, 1);
}

static void
drop_sink(struct sink *sink)
{
	queue_remove(sink->ctx, sink);
	queue_retire(sink->ctx, release_sink, sink);
}

static void
reclaim_all(void)
{
	while (queue_reclaim() != 0)
		usleep(100);
}

static void
run(struct queue_ctx *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	if (ctx->direction == DPCAP_DIRECTION_IN)
		CHECK_EQ(hooks_rx(ctx->port, ctx->queue, pkts, n, 512, ctx), n);
	else
		CHECK_EQ(hooks_tx(ctx->port, ctx->queue, pkts, n, ctx), n);
}

/* Packets of all makes; byte 50 of the frame says whether by_byte takes it. */
#define N 300

static struct rte_mbuf *pkts[N];
static uint8_t frames[N][204];
static uint32_t lengths[N];
static uint32_t n_wanted;

static void
make_packets(bool plain)
{
	uint8_t bytes[200];

	n_wanted = 0;
	for (uint32_t i = 0; i < N; i++) {
		uint32_t len = 60 + i % 140;
		bool tagged = !plain && i % 5 == 0;

		for (uint32_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)(i + k);
		bytes[0] &= 0xfe;
		bytes[tagged ? 46 : 50] = i % 3 == 0; /* the filter sees the tag */
		n_wanted += i % 3 == 0;
		pkts[i] = plain || i % 4 ? new_mbuf(bytes, (uint16_t)len) : new_chain(bytes, len, 13);
		memcpy(frames[i], bytes, len);
		if (tagged) {
			pkts[i]->ol_flags = RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_TX_VLAN;
			pkts[i]->vlan_tci = 0x0102;
			memmove(frames[i] + 16, frames[i] + 12, len - 12);
			memcpy(frames[i] + 12, "\x81\x00\x01\x02", 4);
			len += 4;
		}
		lengths[i] = len;
	}
}

static void
free_packets(void)
{
	for (uint32_t i = 0; i < N; i++)
		free_mbuf(pkts[i]);
}

/* The ring holds the wanted packets, in order and whole. */
static void
check_ring(const struct sink *sink)
{
	const uint8_t *block = sink->ring->data;
	uint64_t left = sink->ring->head;
	struct dpcap_epb_info info;

	for (uint32_t i = 0; i < N; i++) {
		if (i % 3 != 0)
			continue;
		REQUIRE(dpcap_epb_check(block, left, &info));
		CHECK_EQ(info.caplen, lengths[i]);
		CHECK(memcmp(block + DPCAP_EPB_HEADER, frames[i], info.caplen) == 0);
		block += info.size;
		left -= info.size;
	}
	CHECK_EQ(left, 0);
	CHECK_EQ(atomic_load(&sink->received), N);
	CHECK_EQ(atomic_load(&sink->ring->shm->accepted), n_wanted);
	CHECK_EQ(atomic_load(&sink->ring->shm->dropped), 0);
}

static void
test_packets(struct dpcap_vm_prog *prog, uint32_t direction)
{
	struct queue_ctx *ctx = queue_ctx_get(1, 0, direction);
	struct sink *sinks[3];

	for (int engine = BURST; engine <= INTERP; engine++) {
		sinks[engine] = new_sink(ctx, prog, engine, 1 << 20);
		queue_add(ctx, sinks[engine]);
	}
	run(ctx, pkts, 0);
	for (uint32_t at = 0, n = 1; at < N; at += n, n = n + 37 < N - at ? n + 37 : N - at)
		run(ctx, pkts + at, (uint16_t)n);
	for (int engine = BURST; engine <= INTERP; engine++) {
		check_ring(sinks[engine]);
		drop_sink(sinks[engine]);
	}
	reclaim_all();
	run(ctx, pkts, N); /* nobody looks */
}

static void
test_meta(void)
{
	struct dpcap_vm_prog *prog = LOAD(by_meta);
	static const uint16_t places[][3] = { { 5, 3, 1 }, { 5, 3, 2 }, { 5, 2, 1 }, { 4, 3, 1 } };

	for (size_t i = 0; i < 4; i++) {
		struct queue_ctx *ctx = queue_ctx_get(places[i][0], places[i][1], places[i][2]);
		struct sink *sink = new_sink(ctx, prog, BURST, 1 << 20);

		queue_add(ctx, sink);
		run(ctx, pkts, N);
		CHECK_EQ(sink->ring->accepted, i == 0 ? N : 0);
		drop_sink(sink);
	}
	reclaim_all();
	dpcap_vm_free(prog);
}

/* Whatever form runs, the same packets are taken. */
static void
test_forms(const struct dpcap_vm_prog *const *forms, uint32_t n)
{
	struct queue_ctx *ctx = queue_ctx_get(1, 1, DPCAP_DIRECTION_IN);
	struct sink *sink = new_sink(ctx, forms[0], BURST, 1 << 20);
	dpcap_vm_burst_fn bursts[CHOOSER_MAX_FORMS];

	for (uint32_t i = 0; i < n; i++)
		bursts[i] = dpcap_vm_burst_entry(forms[i]);
	sink->bursts = bursts;
	chooser_init(&sink->chooser, n, 1);
	queue_add(ctx, sink);
	for (uint32_t at = 0, size = 1, wanted = 0; size < 20000; size++) {
		uint32_t k = size % 64 + 1;

		if (at + k > N)
			at = 0;
		for (uint32_t i = at; i < at + k; i++)
			wanted += i % 3 == 0;
		run(ctx, pkts + at, (uint16_t)k);
		at += k;
		REQUIRE(sink->ring->accepted == wanted);
	}
	for (uint32_t i = 0; i < n; i++)
		CHECK(atomic_load(&sink->chooser.ran[i]) >= 2 * CHOOSER_COUNTED_BURSTS);
	drop_sink(sink);
	reclaim_all();
}

/* Whatever their make and however they come, every packet and poll is counted once. */
static void
test_counts(struct dpcap_vm_prog *prog, uint32_t direction)
{
	struct queue_ctx *ctx = queue_ctx_get(4, 1, direction);
	struct sink *sinks[4], *capture = new_sink(ctx, prog, BURST, 1 << 20);
	uint64_t bytes = 0, matched_bytes = 0, bursts[DPCAP_COUNTERS_BURSTS] = { 0 };

	for (uint32_t i = 0; i < N; i++) {
		bytes += pkts[i]->pkt_len;
		matched_bytes += i % 3 == 0 ? pkts[i]->pkt_len : 0;
	}
	CHECK(!queue_is_watched(ctx));
	run(ctx, pkts, 0); /* nobody looks */
	for (int i = 0; i < 4; i++) {
		sinks[i] = new_counting_sink(ctx, i < 3 ? prog : NULL, (enum engine)i);
		queue_add(ctx, sinks[i]);
	}
	queue_add(ctx, capture);
	CHECK(queue_is_watched(ctx));
	for (uint32_t at = 0, n = 1; at < N; at += n, n = n + 37 < N - at ? n + 37 : N - at) {
		bursts[31 - __builtin_clz(n)]++;
		run(ctx, pkts + at, (uint16_t)n);
		run(ctx, pkts, 0);
		run(ctx, pkts, 0);
	}
	for (int i = 0; i < 4; i++) {
		const struct dpcap_counters *counters = sinks[i]->counters;
		uint64_t n_bursts = 0;

		CHECK_EQ(counters->port, 4);
		CHECK_EQ(counters->queue, 1);
		CHECK_EQ(counters->direction, direction);
		CHECK_EQ(counters->packets, N);
		CHECK_EQ(counters->bytes, bytes);
		CHECK_EQ(counters->matched, i < 3 ? n_wanted : 0);
		CHECK_EQ(counters->matched_bytes, i < 3 ? matched_bytes : 0);
		CHECK_EQ(counters->missed, 0);
		for (int b = 0; b < DPCAP_COUNTERS_BURSTS; b++) {
			CHECK_EQ(counters->bursts[b], bursts[b]);
			n_bursts += bursts[b];
		}
		CHECK_EQ(counters->empty_polls, direction == DPCAP_DIRECTION_IN ? 2 * n_bursts : 0);
	}
	check_ring(capture);
	drop_sink(capture);
	for (int i = 0; i < 4; i++)
		drop_sink(sinks[i]);
	CHECK(!queue_is_watched(ctx));
	reclaim_all();
}

/* A slot for each queue and direction, until there are no more. */
static void
test_slots(void)
{
	struct watch *watch = watch_new();
	const struct dpcap_counter_table *table;
	struct dpcap_counters *first;
	int fd;

	REQUIRE(watch != NULL);
	first = watch_slot(watch, 0, 0, DPCAP_DIRECTION_IN);
	REQUIRE(first != NULL);
	fd = watch_take_fd(watch);
	CHECK_EQ(ftruncate(fd, 4096), -1); /* sealed: a reader that cuts it would crash the application */
	table = mmap(NULL, sizeof(*table), PROT_READ, MAP_SHARED, fd, 0);
	REQUIRE(table != MAP_FAILED);
	close(fd);
	CHECK_EQ(table->n_slots, 1);
	counter_add(&first->packets, 7);
	CHECK(watch_slot(watch, 0, 0, DPCAP_DIRECTION_IN) == first);
	for (uint32_t i = 1; i < DPCAP_COUNTERS_SLOTS; i++)
		CHECK(watch_slot(watch, (uint16_t)(i / 128), (uint16_t)(i / 2 % 64), i % 2 + 1) != NULL);
	CHECK(watch_slot(watch, 99, 0, DPCAP_DIRECTION_IN) == NULL);
	CHECK_EQ(table->n_slots, DPCAP_COUNTERS_SLOTS);
	CHECK_EQ(table->slots[0].packets, 7);
	CHECK_EQ(table->slots[DPCAP_COUNTERS_SLOTS - 1].port, 31);
	watch_put(watch);
	CHECK_EQ(table->slots[0].packets, 7); /* the reader's mapping stays */
	munmap((void *)(uintptr_t)table, sizeof(*table));
}

/* A thread that was let pass because another one was inside: told as dropped. */
static void
test_missed(struct dpcap_vm_prog *prog)
{
	struct queue_ctx *ctx = queue_ctx_get(2, 0, DPCAP_DIRECTION_OUT);
	struct sink *sink = new_sink(ctx, prog, BURST, 1 << 20);
	struct sink *counting = new_counting_sink(ctx, NULL, BURST);

	queue_add(ctx, counting);
	queue_add(ctx, sink);
	atomic_fetch_add(&ctx->in_use, 1); /* somebody is preempted inside */
	drop_sink(sink);
	queue_add(ctx, sink);
	CHECK(queue_reclaim() > 0);
	CHECK(queue_reclaim() > 0);
	run(ctx, pkts, 7);
	CHECK_EQ(sink->received, 0);
	queue_leave(ctx);
	run(ctx, pkts, 1);
	CHECK_EQ(sink->received, 8);
	CHECK_EQ(sink->ring->accepted, 8);
	CHECK_EQ(sink->ring->dropped, 7);
	CHECK_EQ(counting->counters->missed, 7);
	CHECK_EQ(counting->counters->packets, 1);
	drop_sink(counting);
	queue_remove(ctx, sink);
	reclaim_all(); /* releases the sink, that was retired while somebody was inside */
}

/* ---- Under fire -------------------------------------------------------------- */

#define ROUNDS 3000
#define MAX_SINKS 4

static atomic_bool stop;

static void *
lcore(void *ctx)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		for (uint32_t at = 0; at + 32 <= N; at += 32)
			run(ctx, pkts + at, 32);
	return NULL;
}

static void
test_sessions_come_and_go(struct dpcap_vm_prog *prog)
{
	struct queue_ctx *queues[] = {
		queue_ctx_get(3, 0, DPCAP_DIRECTION_IN),
		queue_ctx_get(3, 0, DPCAP_DIRECTION_OUT),
	};
	/* Two threads send on one queue. */
	struct queue_ctx *polled[] = { queues[0], queues[1], queues[1] };
	struct sink *sinks[2][MAX_SINKS] = { 0 };
	unsigned int made = 0, before = atomic_load(&released);
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_create(&threads[i], NULL, lcore, polled[i]) == 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t q = round & 1, slot = (round * 7 / 3) % MAX_SINKS;

		if (sinks[q][slot] != NULL) {
			drop_sink(sinks[q][slot]);
			sinks[q][slot] = NULL;
		} else {
			sinks[q][slot] = round % 5 == 0
				? new_counting_sink(queues[q], prog, (enum engine)(round % 3))
				: new_sink(queues[q], prog, (enum engine)(round % 3), 65536);
			queue_add(queues[q], sinks[q][slot]);
			made++;
		}
		queue_reclaim();
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < 2 * MAX_SINKS; i++)
		if (sinks[i / MAX_SINKS][i % MAX_SINKS] != NULL)
			drop_sink(sinks[i / MAX_SINKS][i % MAX_SINKS]);
	reclaim_all();
	CHECK_EQ(atomic_load(&released) - before, made);
}

int
main(void)
{
	struct dpcap_vm_prog *everything, *some, *flat;

	queue_init();
	dpcap_clock_init(&hooks_clock, NULL);
	use_next_place(NEXT_CLASSIC);
	everything = LOAD(accept_all);
	some = LOAD(by_byte);
	flat = LOAD(by_byte_flat);
	for (int plain = 0; plain < 2; plain++) {
		make_packets(plain);
		test_packets(some, DPCAP_DIRECTION_IN);
		test_packets(some, DPCAP_DIRECTION_OUT);
		test_counts(some, DPCAP_DIRECTION_IN);
		test_counts(some, DPCAP_DIRECTION_OUT);
		if (plain)
			break;
		free_packets();
	}
	test_forms((const struct dpcap_vm_prog *[]){ some, flat, some }, 3);
	test_meta();
	test_slots();
	test_missed(everything);
	test_sessions_come_and_go(some);
	free_packets();
	dpcap_vm_free(everything);
	dpcap_vm_free(some);
	dpcap_vm_free(flat);
	return CHECK_RESULT();
}
