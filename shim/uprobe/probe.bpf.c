/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The kernel side of a capture by uprobes. Four programs, at the entry and the return
 * of a driver's receive and transmit function:
 *
 *	uint16_t rx_burst(void *queue, struct rte_mbuf **pkts, uint16_t n);
 *	uint16_t tx_burst(void *queue, struct rte_mbuf **pkts, uint16_t n);
 *
 * Received packets are read when rx_burst returns. Packets to be sent are read when
 * tx_burst is entered, as the driver may free them at once; how many it took is known
 * when it returns, and refusals are told in a ring buffer of their own, which packets
 * cannot fill.
 *
 * Nothing here depends on the kernel's own structures: only the user's registers and
 * memory are read. Helpers beyond Linux 5.8: bpf_loop (5.17).
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;

#include "mbuf.h"
#include "records.h"

/* The user's registers as a uprobe gets them: asm/ptrace.h of x86-64. */
struct registers {
	uint64_t r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	uint64_t orig_ax, ip, cs, flags, sp, ss;
};

#define RETURN_ADDRESS 8 /* bytes that a return takes from the stack */
#define MAX_CALLS 4	 /* a bonding driver calls its members' functions */

char licence_of_object[] SEC("license") = "Dual BSD/GPL";

/* Written into the object before it is loaded. */
const volatile struct uprobe_config config = {
	.sample = 1,
	.snaplen = UPROBE_MAX_DATA,
	.pkts_argument = 1,
	.n_argument = 2,
};

/* A call that has not returned. */
struct call {
	uint64_t sp; /* at the entry: tells calls apart */
	uint64_t queue;
	uint64_t pkts;
	uint32_t n;
	uint32_t burst;
	uint32_t told; /* packets of a transmit burst that were given away */
	uint32_t direction;
};

/* A thread's own memory. One per thread, as another one may preempt it in the middle. */
struct scratch {
	uint32_t depth;
	uint32_t burst;
	uint32_t skip;	 /* packets before the next sample */
	uint32_t chosen; /* place of the last sample in its group; see next_sample() */
	struct call calls[MAX_CALLS];
	uint64_t pkts[UPROBE_MAX_BURST];
	struct mbuf mbuf;
	struct mbuf segment;
	struct uprobe_record record;
	uint8_t data[2 * (UPROBE_MAX_DATA + 1)]; /* follows the record */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} refusals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UPROBE_MAX_THREADS * UPROBE_MAX_RINGS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct uprobe_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UPROBE_MAX_THREADS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct uprobe_thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UPROBE_MAX_THREADS);
	__type(key, uint32_t);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Thread id to place in threads and scratches. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UPROBE_MAX_THREADS);
	__type(key, uint32_t);
	__type(value, uint32_t);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UPROBE_MAX_RINGS);
	__type(key, struct uprobe_queue_key);
	__type(value, struct uprobe_queue);
} queues SEC(".maps");

uint32_t places_taken;

/*
 * The filter's place: no-ops, overwritten by a compiled filter before the object is
 * loaded. The result must not be known to the compiler.
 */
__attribute__((noinline, visibility("hidden"))) uint64_t
dp_filter(const void *data, uint64_t len, uint64_t wirelen, uint64_t meta)
{
	uint64_t result;

	__asm__ volatile(".rept 4096\n\tgoto +0\n\t.endr\n\t%0 = 1"
			 : "=r"(result)
			 : "r"(data), "r"(len), "r"(wirelen), "r"(meta));
	return result;
}

/* The verifier has to see that a number is below a power of two. */
#define BELOW(value, power_of_two)                                       \
	({                                                               \
		uint64_t below_ = (value);                               \
		__asm__ volatile("%0 &= %1" : "+r"(below_) : "i"((power_of_two) - 1)); \
		below_;                                                  \
	})

static __always_inline uint32_t
my_place(void)
{
	const uint32_t tid = (uint32_t)bpf_get_current_pid_tgid();
	uint32_t *known = bpf_map_lookup_elem(&places, &tid);
	struct uprobe_thread *thread;
	uint32_t place;

	if (known != NULL)
		return *known;
	if (places_taken >= UPROBE_MAX_THREADS)
		return UPROBE_MAX_THREADS;
	place = __sync_fetch_and_add(&places_taken, 1);
	thread = bpf_map_lookup_elem(&threads, &place);
	if (thread == NULL || bpf_map_update_elem(&places, &tid, &place, BPF_NOEXIST) != 0)
		return UPROBE_MAX_THREADS;
	thread->tid = tid;
	return place;
}

static __always_inline uint64_t
argument(const uint64_t arguments[6], uint32_t position)
{
	switch (position) {
	case 0: return arguments[0];
	case 1: return arguments[1];
	case 2: return arguments[2];
	case 3: return arguments[3];
	case 4: return arguments[4];
	default: return arguments[5];
	}
}

/* Note a call. NULL: there are too many inside of each other. */
static __always_inline struct call *
enter(struct registers *regs, struct scratch *s, uint32_t direction)
{
	/* All at once: a computed place in the context is refused. */
	const uint64_t arguments[6] = { regs->di, regs->si, regs->dx, regs->cx, regs->r8, regs->r9 };
	const uint64_t sp = regs->sp;
	uint32_t depth = s->depth;
	struct call *call;

	/* A call whose stack is gone was left without a return. */
	for (int i = 0; i < MAX_CALLS; i++)
		if (depth > 0 && depth <= MAX_CALLS && s->calls[BELOW(depth - 1, MAX_CALLS)].sp <= sp)
			depth--;
	if (depth >= MAX_CALLS)
		return NULL;
	call = &s->calls[BELOW(depth, MAX_CALLS)];
	call->sp = sp;
	call->queue = argument(arguments, config.queue_argument);
	call->pkts = argument(arguments, config.pkts_argument);
	call->n = argument(arguments, config.n_argument) & 0xffff;
	call->told = 0;
	call->direction = direction;
	s->depth = depth + 1;
	return call;
}

/* The call that returns; NULL: its entry was not seen. */
static __always_inline struct call *
leave(struct registers *regs, struct scratch *s)
{
	const uint64_t sp = regs->sp - RETURN_ADDRESS;
	uint32_t depth = s->depth;

	for (int i = 0; i < MAX_CALLS; i++) {
		struct call *call;

		if (depth == 0 || depth > MAX_CALLS)
			return NULL;
		depth--;
		call = &s->calls[BELOW(depth, MAX_CALLS)];
		if (call->sp == sp) {
			s->depth = depth;
			return call;
		}
	}
	return NULL;
}

static __always_inline struct uprobe_queue *
find_queue(const struct call *call, uint32_t direction)
{
	const struct uprobe_queue_key key = {
		.pointer = config.any_queue ? 0 : call->queue,
		.direction = direction,
	};

	return bpf_map_lookup_elem(&queues, &key);
}

static __always_inline struct uprobe_counters *
find_counters(uint32_t place, uint32_t ring)
{
	const uint32_t at = place * UPROBE_MAX_RINGS + ring;

	return bpf_map_lookup_elem(&counters, &at);
}

/* A packet of several segments on its way into scratch. */
struct gathering {
	struct scratch *s;
	uint64_t segment;
	uint32_t used;	 /* bytes */
	uint32_t failed;
	uint32_t no_iova; /* next is where builds without the IO address have it */
};

static int
gather_segment(uint32_t i, struct gathering *g)
{
	struct scratch *s = g->s;
	struct mbuf *m = &s->segment;
	uint64_t used = g->used, len;

	if (bpf_probe_read_user(m, sizeof(*m), (const void *)g->segment) != 0) {
		g->failed = 1;
		return 1;
	}
	len = m->data_len;
	if (used > UPROBE_MAX_DATA)
		used = UPROBE_MAX_DATA;
	if (len > UPROBE_MAX_DATA - used)
		len = UPROBE_MAX_DATA - used;
	used = BELOW(used, UPROBE_MAX_DATA + 1);
	len = BELOW(len, UPROBE_MAX_DATA + 1);
	if (bpf_probe_read_user(s->data + used, len, (const void *)(m->buf_addr + m->data_off)) != 0) {
		g->failed = 1;
		return 1;
	}
	g->used = used + len;
	g->segment = g->no_iova ? m->next_no_iova : m->next;
	return g->segment == 0;
}

static __always_inline void
put_tag(uint8_t *at, uint16_t tpid, uint16_t tci)
{
	at[0] = tpid >> 8;
	at[1] = (uint8_t)tpid;
	at[2] = tci >> 8;
	at[3] = (uint8_t)tci;
}

/*
 * Read a packet of any make as it is on the wire: its segments, and behind the addresses
 * the tags that the NIC took out or will put in. Returns its bytes, 0 on failure.
 */
static __always_inline uint32_t
gather(struct scratch *s, uint64_t packet, uint32_t direction, uint32_t *wirelen)
{
	const struct mbuf *m = &s->mbuf;
	const uint64_t outer = direction == UPROBE_IN ? MBUF_RX_QINQ_STRIPPED : MBUF_TX_QINQ;
	/* To be sent, QINQ asks for both tags; received, QINQ_STRIPPED alone took the outer one. */
	const uint64_t inner =
		direction == UPROBE_IN ? MBUF_RX_VLAN_STRIPPED : MBUF_TX_VLAN | MBUF_TX_QINQ;
	const uint32_t outer_bytes = m->ol_flags & outer ? MBUF_TAG : 0;
	const uint32_t inner_bytes = m->ol_flags & inner ? MBUF_TAG : 0;
	const uint32_t start = outer_bytes + inner_bytes;
	struct gathering g = { .s = s, .segment = packet, .used = start };

	bpf_loop(m->nb_segs, gather_segment, &g, 0);
	/* A build of the other kind: its chain ends elsewhere, or leads nowhere. */
	if (g.failed || (g.used - start != m->pkt_len && g.used < UPROBE_MAX_DATA)) {
		g.segment = packet;
		g.used = start;
		g.failed = 0;
		g.no_iova = 1;
		bpf_loop(m->nb_segs, gather_segment, &g, 0);
	}
	if (g.failed)
		return 0;
	if (outer_bytes + inner_bytes != 0) {
		uint8_t *tags = s->data + MBUF_ADDRESSES;

		/* The addresses come first, wherever segments part. */
		if (outer_bytes != 0 && inner_bytes != 0)
			__builtin_memmove(s->data, s->data + 2 * MBUF_TAG, MBUF_ADDRESSES);
		else
			__builtin_memmove(s->data, s->data + MBUF_TAG, MBUF_ADDRESSES);
		if (outer_bytes != 0)
			put_tag(tags, MBUF_TPID_QINQ, m->vlan_tci_outer);
		if (inner_bytes != 0 && outer_bytes != 0)
			put_tag(tags + MBUF_TAG, MBUF_TPID_VLAN, m->vlan_tci);
		else if (inner_bytes != 0)
			put_tag(tags, MBUF_TPID_VLAN, m->vlan_tci);
	}
	*wirelen = m->pkt_len + outer_bytes + inner_bytes;
	return g.used;
}

/* A burst on its way into the ring buffer. */
struct burst {
	struct scratch *s;
	struct uprobe_counters *counters;
	uint64_t time_ns;
	uint64_t meta;
	uint32_t number;
	uint32_t direction;
	uint32_t told;
	uint16_t ring;
	uint16_t place;
};

/*
 * Choose the next sample: one at random of each group of config.sample packets. Traffic
 * that repeats itself could hide from a fixed distance.
 */
static __always_inline void
next_sample(struct scratch *s)
{
	const uint32_t chosen = bpf_get_prandom_u32() % config.sample;

	s->skip = config.sample - 1 - s->chosen + chosen;
	s->chosen = chosen;
}

static int
tell_packet(uint32_t i, struct burst *b)
{
	struct scratch *s = b->s;
	const struct mbuf *m = &s->mbuf;
	const uint64_t packet = s->pkts[BELOW(i, UPROBE_MAX_BURST)];
	const uint64_t tags =
		b->direction == UPROBE_IN ? MBUF_RX_VLAN_STRIPPED | MBUF_RX_QINQ_STRIPPED : MBUF_TX_VLAN | MBUF_TX_QINQ;
	uint32_t wirelen = 0;
	uint64_t len, have = 0;

	if (config.sample > 1) {
		if (s->skip > 0) {
			s->skip--;
			return 0;
		}
		next_sample(s);
	}
	if (bpf_probe_read_user(&s->mbuf, sizeof(s->mbuf), (const void *)packet) != 0)
		goto lost;
	if (m->nb_segs == 1 && (m->ol_flags & tags) == 0) {
		const void *data = (const void *)(m->buf_addr + m->data_off);

		len = m->data_len;
		wirelen = m->pkt_len;
		if (config.filter_bytes != 0) {
			have = len < config.filter_bytes ? len : config.filter_bytes;
			have = BELOW(have, UPROBE_MAX_DATA + 1);
			if (bpf_probe_read_user(s->data, have, data) != 0)
				goto lost;
			if (dp_filter(s->data, have, wirelen, b->meta) == 0)
				return 0;
		}
		if (len > config.snaplen)
			len = config.snaplen;
		if (len > have) {
			const uint64_t left = BELOW(len - have, UPROBE_MAX_DATA + 1);

			if (bpf_probe_read_user(s->data + have, left, data + have) != 0)
				goto lost;
		}
	} else {
		len = gather(s, packet, b->direction, &wirelen);
		if (len == 0)
			goto lost;
		if (config.filter_bytes != 0) {
			have = len < config.filter_bytes ? len : config.filter_bytes;
			have = BELOW(have, UPROBE_MAX_DATA + 1);
			if (dp_filter(s->data, have, wirelen, b->meta) == 0)
				return 0;
		}
		if (len > config.snaplen)
			len = config.snaplen;
	}
	len = BELOW(len, UPROBE_MAX_DATA + 1);
	s->record.time_ns = b->time_ns;
	s->record.ol_flags = m->ol_flags;
	s->record.caplen = len;
	s->record.wirelen = wirelen;
	s->record.rss = m->rss;
	s->record.burst = b->number;
	s->record.ring = b->ring;
	s->record.index = i;
	s->record.thread = b->place;
	if (bpf_ringbuf_output(&packets, &s->record, sizeof(s->record) + len, BPF_RB_NO_WAKEUP) != 0)
		goto lost;
	b->told++;
	return 0;
lost:
	b->counters->lost++;
	return 0;
}

/* Give away what matches of a burst; returns how many packets that was. */
static __always_inline uint32_t
tell(struct scratch *s, const struct call *call, uint32_t place, uint32_t n, uint32_t direction)
{
	const struct uprobe_queue *queue = find_queue(call, direction);
	struct uprobe_counters *c;
	struct burst b = { .s = s, .direction = direction };

	if (queue == NULL)
		return 0;
	c = find_counters(place, queue->ring);
	if (c == NULL)
		return 0;
	c->seen += n;
	if (config.sample > 1 && s->skip >= n) {
		s->skip -= n;
		return 0;
	}
	if (n > UPROBE_MAX_BURST) {
		c->lost += n - UPROBE_MAX_BURST;
		n = UPROBE_MAX_BURST;
	}
	if (bpf_probe_read_user(s->pkts, n * sizeof(s->pkts[0]), (const void *)call->pkts) != 0) {
		c->lost += n;
		return 0;
	}
	b.counters = c;
	b.meta = queue->meta;
	b.ring = queue->ring;
	b.place = place;
	b.number = call->burst;
	b.time_ns = bpf_ktime_get_ns();
	bpf_loop(n, tell_packet, &b, 0);
	return b.told;
}

/* Whether the first packet of a burst looks like one. */
static __always_inline bool
is_sound(struct scratch *s, const struct call *call)
{
	const struct mbuf *m = &s->mbuf;

	return bpf_probe_read_user(s->pkts, sizeof(s->pkts[0]), (const void *)call->pkts) == 0 &&
	       bpf_probe_read_user(&s->mbuf, sizeof(s->mbuf), (const void *)s->pkts[0]) == 0 &&
	       m->buf_addr != 0 && m->nb_segs != 0 && m->data_len != 0 && m->data_len <= m->pkt_len &&
	       m->data_off <= m->buf_len;
}

/* Count a call in which n packets passed. */
static __always_inline void
count(struct scratch *s, const struct call *call, uint32_t place, uint32_t n, uint32_t direction)
{
	const struct uprobe_queue *queue = find_queue(call, direction);
	struct uprobe_counters *c;

	if (queue == NULL)
		return;
	c = find_counters(place, queue->ring);
	if (c == NULL)
		return;
	if (config.candidate) {
		c->polls++;
		/* A sent packet may be gone by now: it was looked at before. */
		if (n != 0 && (direction == UPROBE_IN ? is_sound(s, call) : call->told != 0))
			c->sound++;
	}
	if (n == 0)
		return;
	c->bursts++;
	c->packets += n;
}

SEC("uprobe")
int
rx_enter(struct registers *regs)
{
	const uint32_t place = my_place();
	struct scratch *s = bpf_map_lookup_elem(&scratches, &place);

	if (s != NULL)
		enter(regs, s, UPROBE_IN);
	return 0;
}

SEC("uretprobe")
int
rx_return(struct registers *regs)
{
	const uint32_t place = my_place();
	struct scratch *s = bpf_map_lookup_elem(&scratches, &place);
	struct call *call;
	uint32_t n;

	if (s == NULL)
		return 0;
	call = leave(regs, s);
	n = regs->ax & 0xffff;
	if (call == NULL || call->direction != UPROBE_IN || n > call->n)
		return 0;
	if (n == 0 && !config.candidate)
		return 0;
	count(s, call, place, n, UPROBE_IN);
	if (config.capture && n != 0)
		tell(s, call, place, n, UPROBE_IN);
	return 0;
}

SEC("uprobe")
int
tx_enter(struct registers *regs)
{
	const uint32_t place = my_place();
	struct scratch *s = bpf_map_lookup_elem(&scratches, &place);
	struct call *call;

	if (s == NULL)
		return 0;
	call = enter(regs, s, UPROBE_OUT);
	if (call == NULL || call->n == 0)
		return 0;
	if (config.candidate)
		call->told = is_sound(s, call);
	if (!config.capture)
		return 0;
	call->burst = ++s->burst;
	call->told = tell(s, call, place, call->n, UPROBE_OUT);
	return 0;
}

SEC("uretprobe")
int
tx_return(struct registers *regs)
{
	const uint32_t place = my_place();
	struct scratch *s = bpf_map_lookup_elem(&scratches, &place);
	struct uprobe_thread *thread;
	struct call *call;
	uint32_t taken;

	if (s == NULL)
		return 0;
	call = leave(regs, s);
	if (call == NULL || call->direction != UPROBE_OUT)
		return 0;
	taken = regs->ax & 0xffff;
	if (taken > call->n)
		return 0;
	if (taken != 0 || config.candidate)
		count(s, call, place, taken, UPROBE_OUT);
	if (!config.capture)
		return 0;
	if (call->told != 0 && taken < call->n) {
		const struct uprobe_refusal refusal = { .burst = call->burst, .thread = place, .taken = taken };

		bpf_ringbuf_output(&refusals, (void *)&refusal, sizeof(refusal), BPF_RB_NO_WAKEUP);
	}
	/* After the refusal, and not while an outer burst is still under way. */
	thread = bpf_map_lookup_elem(&threads, &place);
	if (thread != NULL && s->depth == 0)
		*(volatile uint32_t *)&thread->resolved = s->burst;
	return 0;
}
