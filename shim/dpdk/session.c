/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dpdk_api.h"
#include "message.h"
#include "outbox.h"
#include "ports.h"
#include "program.h"
#include "session.h"
#include "watch.h"

/* Shared memory of all rings of all sessions, at most. */
#define MAX_MEMORY (1ULL << 30)
static uint64_t ring_memory; /* bytes of it that are taken */
/* Rings are as large as DPCAP_RING_DEFAULT_SIZE until all of them take this much; then
 * smaller, down to MIN_DEFAULT_RING: many large rings do not fit the cache. */
#define DEFAULT_SESSION_MEMORY (64ULL << 20)
#define MIN_DEFAULT_RING (512ULL << 10)

/* A port that the session captures. */
struct session_port {
	uint32_t generation; /* of the device; 0: there was none */
	uint16_t n_rings[2]; /* queues that have a ring, for each direction */
};

struct session {
	int fd;
	bool greeted; /* HELLO was seen */
	bool over;    /* closes as soon as the outbox is empty */
	uint16_t asks; /* DPCAP_MSG_PARK or DPCAP_MSG_WAKE that is not answered yet */
	uint32_t asks_seq;
	struct outbox outbox;
	bool attached;
	struct program *program; /* NULL: counts without a filter */
	struct watch *watch;	 /* NULL: captures */
	struct dpcap_msg_attach attach;
	struct session_port ports[DPCAP_MAX_PORTS];
	struct sink *sinks;
	uint64_t ring_size;   /* bytes of data of each ring */
};

static bool parked;

struct session *
session_new(int fd)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		close(fd);
		return NULL;
	}
	s->fd = fd;
	outbox_init(&s->outbox, fd);
	return s;
}

/* ---- Sending ---------------------------------------------------------------- */

/* Fill in the header and send; takes fd over. An error ends the session. */
static int
reply(struct session *s, void *message, uint16_t type, size_t size, uint32_t seq, int fd)
{
	int err;

	dpcap_message_header(message, type, (uint32_t)size, seq);
	err = outbox_send(&s->outbox, message, size, fd);
	if (err != 0) {
		outbox_clear(&s->outbox);
		s->over = true;
	}
	return err;
}

static void
reply_end(struct session *s, uint32_t seq, uint32_t count)
{
	struct dpcap_msg_end end = { .count = count };

	reply(s, &end, DPCAP_MSG_END, sizeof(end), seq, -1);
}

static void
reply_error(struct session *s, uint32_t seq, int err, const char *text)
{
	struct dpcap_msg_error error = { .code = -err };

	snprintf(error.text, sizeof(error.text), "%s", text);
	reply(s, &error, DPCAP_MSG_ERROR, sizeof(error), seq, -1);
}

/* ---- HELLO and PORTS -------------------------------------------------------- */

static void
handle_hello(struct session *s, uint32_t seq)
{
	struct dpcap_msg_info info = {
		.pid = (uint32_t)getpid(),
		.primary = dpdk.rte_eal_process_type() == RTE_PROC_PRIMARY ? DPCAP_PROCESS_PRIMARY
									   : DPCAP_PROCESS_SECONDARY,
#if defined(__x86_64__)
		.jit = 1,
#endif
	};

	info.parked = parked;
	snprintf(info.dpdk_version, sizeof(info.dpdk_version), "%s", dpdk.rte_version());
	snprintf(info.shim_version, sizeof(info.shim_version), "%s", DPCAP_VERSION);
	snprintf(info.app_name, sizeof(info.app_name), "%s", program_invocation_short_name);
	s->greeted = true;
	reply(s, &info, DPCAP_MSG_INFO, sizeof(info), seq, -1);
}

static void
handle_ports(struct session *s, uint32_t seq)
{
	uint32_t count = 0;
	uint16_t port;

	for (port = ports_next(0); port != UINT16_MAX; port = ports_next(port + 1u)) {
		struct dpcap_msg_port message = { 0 };

		if (ports_describe(port, &message) != 0)
			continue; /* closed meanwhile */
		if (reply(s, &message, DPCAP_MSG_PORT, sizeof(message), seq, -1) != 0)
			return;
		count++;
	}
	reply_end(s, seq, count);
}

/* ---- Sinks ------------------------------------------------------------------ */

/* Tell the reader how many packets the hook has seen, and the queue what was captured. */
static void
show_capture(struct sink *sink)
{
	const struct dpcap_ring_shm *shm = sink->ring->shm;
	const uint64_t received = atomic_load_explicit(&sink->received, memory_order_relaxed);
	const struct captured captured = {
		.accepted = atomic_load_explicit(&shm->accepted, memory_order_relaxed),
		.dropped = atomic_load_explicit(&shm->dropped, memory_order_relaxed),
	};

	dpcap_ring_received(sink->ring, received - sink->shown);
	sink->shown = received;
	sink->ctx->captured.accepted += captured.accepted - sink->told.accepted;
	sink->ctx->captured.dropped += captured.dropped - sink->told.dropped;
	sink->told = captured;
}

/* Tell a reader of counters what others have captured meanwhile. */
static void
show_captured(struct sink *sink)
{
	const struct captured captured = sink->ctx->captured;

	counter_add(&sink->counters->captured, captured.accepted - sink->told.accepted);
	counter_add(&sink->counters->dropped, captured.dropped - sink->told.dropped);
	sink->told = captured;
}

static void
show(struct sink *sink)
{
	if (sink->counters == NULL)
		show_capture(sink);
	else
		show_captured(sink);
}

static void
free_sink(struct sink *sink)
{
	dpcap_ring_destroy(sink->ring);
	program_put(sink->program);
	watch_put(sink->watch);
	free(sink);
}

/* No lcore knows the sink any more. */
static void
release_sink(void *object)
{
	struct sink *sink = object;

	show(sink);
	if (sink->ring != NULL)
		dpcap_ring_close(sink->ring);
	free_sink(sink);
}

static void
remove_sink(struct sink *sink)
{
	if (sink->live)
		queue_remove(sink->ctx, sink);
	if (sink->ring != NULL)
		ring_memory -= dpcap_ring_memfd_size(sink->ring);
	queue_retire(sink->ctx, release_sink, sink);
}

static void
remove_port_sinks(struct session *s, uint16_t port)
{
	struct sink **link = &s->sinks;

	while (*link != NULL) {
		struct sink *sink = *link;

		if (sink->ctx->port == port) {
			*link = sink->sibling;
			remove_sink(sink);
		} else {
			link = &sink->sibling;
		}
	}
}

static int
announce_ring(struct session *s, struct sink *sink, uint32_t interface_id, uint32_t seq)
{
	struct dpcap_msg_ring message = {
		.port = sink->ctx->port,
		.queue = sink->ctx->queue,
		.direction = sink->ctx->direction,
		.interface_id = interface_id,
		.memfd_size = dpcap_ring_memfd_size(sink->ring),
	};

	return reply(s, &message, DPCAP_MSG_RING, sizeof(message), seq, dpcap_ring_take_fd(sink->ring));
}

/* Where the sink's packets go. Returns 0 or a negative errno. */
static int
give_ring(struct session *s, struct sink *sink, uint32_t interface_id, uint32_t seq)
{
	const struct dpcap_ring_params params = {
		.data_size = s->ring_size,
		.interface_id = interface_id,
		.port = sink->ctx->port,
		.queue = sink->ctx->queue,
		.direction = sink->ctx->direction,
		.snaplen = s->attach.snaplen,
	};
	int err;

	if (ring_memory + s->ring_size > MAX_MEMORY)
		return -ENOSPC;
	sink->ring = dpcap_ring_create(&params);
	if (sink->ring == NULL)
		return -errno;
	err = announce_ring(s, sink, interface_id, seq);
	if (err == 0)
		ring_memory += dpcap_ring_memfd_size(sink->ring);
	return err;
}

/* Where the sink counts. Returns 0 or a negative errno. */
static int
give_counters(struct session *s, struct sink *sink)
{
	const struct queue_ctx *ctx = sink->ctx;

	sink->counters = watch_slot(s->watch, ctx->port, ctx->queue, ctx->direction);
	if (sink->counters == NULL)
		return -ENOSPC;
	sink->watch = watch_get(s->watch);
	sink->told = ctx->captured;
	return 0;
}

static void
give_program(struct sink *sink, struct program *program)
{
	const struct queue_ctx *ctx = sink->ctx;

	sink->burst = program->bursts[0];
	sink->bursts = program->bursts;
	sink->bursts_left = 1;
	sink->jit = program->jit;
	sink->prog = program->vm[0];
	sink->program = program_get(program);
	chooser_init(&sink->chooser, program->n_forms, ctx->port * 31u + ctx->queue * 7u + ctx->direction);
}

/* Prepare to look at one queue; go_live() starts it. Returns 0 or a negative errno. */
static int
add_sink(struct session *s, const struct dpcap_attach_port *port, struct queue_ctx *ctx, uint32_t seq)
{
	struct sink *sink;
	int err;

	sink = aligned_alloc(_Alignof(struct sink), sizeof(*sink));
	if (sink == NULL)
		return -ENOMEM;
	*sink = (struct sink){
		.meta = (uint64_t)ctx->port << DPCAP_VM_META_PORT_SHIFT |
			(uint64_t)ctx->queue << DPCAP_VM_META_QUEUE_SHIFT | ctx->direction,
		.mac = ports_mac(ctx->port),
		.whole = (s->attach.flags & DPCAP_ATTACH_WHOLE) != 0,
		.ctx = ctx,
	};
	if (s->program != NULL)
		give_program(sink, s->program);
	err = s->watch != NULL ? give_counters(s, sink) : give_ring(s, sink, port->interface_id, seq);
	if (err != 0) {
		free_sink(sink);
		return err;
	}
	sink->sibling = s->sinks;
	s->sinks = sink;
	return 0;
}

/*
 * Start to capture with every sink that waits for it. A ring takes a millisecond to
 * make: started one by one, the first queue would fill a short capture alone, all
 * packets inbound.
 */
static void
go_live(struct session *s)
{
	for (struct sink *sink = s->sinks; sink != NULL; sink = sink->sibling) {
		if (!sink->live)
			queue_add(sink->ctx, sink);
		sink->live = true;
	}
}

/* ---- Following ports -------------------------------------------------------- */

/* Sinks for the queues of one port and direction that have none. Returns their number. */
static int
extend_port(struct session *s, const struct dpcap_attach_port *port, struct session_port *state,
	    uint32_t direction, uint32_t seq)
{
	uint16_t *n_rings = &state->n_rings[direction == DPCAP_DIRECTION_OUT];
	uint16_t n_queues = ports_hook(port->port, direction);
	int added = 0;

	for (; *n_rings < n_queues; (*n_rings)++, added++) {
		struct queue_ctx *ctx = queue_ctx_get(port->port, *n_rings, direction);
		int err = ctx == NULL ? -ENOMEM : add_sink(s, port, ctx, seq);

		if (err != 0)
			return err;
	}
	return added;
}

/* Bring the sinks of all ports up to date. Returns the number added or a negative errno. */
static int
follow_ports(struct session *s, uint32_t seq)
{
	static const uint32_t directions[] = { DPCAP_DIRECTION_IN, DPCAP_DIRECTION_OUT };
	int total = 0;

	for (uint32_t i = 0; i < s->attach.n_ports; i++) {
		const struct dpcap_attach_port *port = &s->attach.ports[i];
		struct session_port *state = &s->ports[i];
		uint32_t generation = ports_generation(port->port);

		if (generation != state->generation) {
			remove_port_sinks(s, port->port);
			*state = (struct session_port){ .generation = generation };
		}
		for (unsigned int d = 0; generation != 0 && d < 2; d++) {
			int added = 0;

			if (s->attach.directions & directions[d])
				added = extend_port(s, port, state, directions[d], seq);
			if (added < 0)
				return added;
			total += added;
		}
	}
	go_live(s);
	for (struct sink *sink = s->sinks; sink != NULL; sink = sink->sibling) {
		atomic_store_explicit(&sink->mac, ports_mac(sink->ctx->port), memory_order_relaxed);
		show(sink);
	}
	return total;
}

bool
session_follow_ports(struct session *s)
{
	int err = s->attached ? follow_ports(s, 0) : 0;

	if (err < 0)
		reply_error(s, 0, err, "cannot capture on a new queue: out of memory or descriptors");
	return !s->over || !outbox_is_empty(&s->outbox);
}

/* ---- ATTACH ----------------------------------------------------------------- */

static void
detach(struct session *s)
{
	while (s->sinks != NULL) {
		struct sink *sink = s->sinks;

		s->sinks = sink->sibling;
		remove_sink(sink);
	}
	program_put(s->program);
	s->program = NULL;
	watch_put(s->watch);
	s->watch = NULL;
	s->attached = false;
}

/* The size of each ring, when the client leaves it to the shim. */
static uint64_t
default_ring_size(const struct dpcap_msg_attach *attach)
{
	uint64_t size = DPCAP_RING_DEFAULT_SIZE;
	uint32_t n_rings = 0;

	for (uint32_t i = 0; i < attach->n_ports; i++) {
		if (attach->directions & DPCAP_DIRECTION_IN)
			n_rings += ports_hook(attach->ports[i].port, DPCAP_DIRECTION_IN);
		if (attach->directions & DPCAP_DIRECTION_OUT)
			n_rings += ports_hook(attach->ports[i].port, DPCAP_DIRECTION_OUT);
	}
	while (size * n_rings > DEFAULT_SESSION_MEMORY && size > MIN_DEFAULT_RING)
		size /= 2;
	return size;
}

/* Make the table of counters and send it. Returns 0 or a negative errno. */
static int
start_watch(struct session *s, uint32_t seq)
{
	struct dpcap_msg_counters message = { .memfd_size = sizeof(struct dpcap_counter_table) };

	s->watch = watch_new();
	if (s->watch == NULL)
		return -errno;
	return reply(s, &message, DPCAP_MSG_COUNTERS, sizeof(message), seq, watch_take_fd(s->watch));
}

/* Begin what the session's request says. Returns the number of replies or a negative errno. */
static int
begin(struct session *s, char *text, size_t text_size)
{
	const bool counts = (s->attach.flags & DPCAP_ATTACH_COUNT) != 0;
	int err = counts ? start_watch(s, s->attach.hdr.seq) : 0;
	int added = err != 0 ? err : follow_ports(s, s->attach.hdr.seq);

	if (added < 0 && counts)
		snprintf(text, text_size, "cannot make the counters: %s", strerror(-added));
	else if (added < 0)
		snprintf(text, text_size, "cannot make the rings (%llu bytes each): %s",
			 (unsigned long long)s->ring_size, strerror(-added));
	return counts && added >= 0 ? 1 : added;
}

/* Returns 0, or a negative errno with the reason in text. */
static int
attach(struct session *s, const struct dpcap_msg_attach *request, int memfd, char *text, size_t text_size)
{
	int err;

	snprintf(text, text_size, "this session is attached already");
	if (s->attached)
		return -EALREADY;
	for (uint32_t i = 0; i < request->n_ports; i++)
		if (ports_generation(request->ports[i].port) == 0) {
			snprintf(text, text_size, "port %u: no such port", request->ports[i].port);
			return -ENODEV;
		}
	err = request->n_forms == 0 ? 0 : program_load(request, memfd, &s->program, text, text_size);
	if (err != 0)
		return err;

	s->attached = true;
	s->attach = *request;
	s->ring_size = request->ring_size != 0 ? request->ring_size : default_ring_size(request);
	memset(s->ports, 0, sizeof(s->ports));
	err = begin(s, text, text_size);
	if (err < 0) {
		detach(s);
		return err;
	}
	reply_end(s, request->hdr.seq, (uint32_t)err);
	return 0;
}

static void
handle_attach(struct session *s, const struct dpcap_msg_attach *request, int memfd)
{
	char text[DPCAP_ERROR_SIZE] = "the shim is parked: 'dpcap attach' wakes it";
	int err = parked ? -ESHUTDOWN : attach(s, request, memfd, text, sizeof(text));

	if (err != 0)
		reply_error(s, request->hdr.seq, err, text);
}

/* ---- STATS ------------------------------------------------------------------ */

static void
describe_sink(const struct sink *sink, struct dpcap_msg_queue *message)
{
	const struct chooser *chooser = &sink->chooser;

	message->port = sink->ctx->port;
	message->queue = sink->ctx->queue;
	message->direction = sink->ctx->direction;
	message->received = sink->counters != NULL
		? __atomic_load_n(&sink->counters->packets, __ATOMIC_RELAXED)
		: atomic_load_explicit(&sink->received, memory_order_relaxed);
	if (sink->program == NULL || sink->program->bursts[0] == NULL)
		return; /* none of the forms is run as a burst */
	message->best = atomic_load_explicit(&chooser->best, memory_order_relaxed);
	message->n_forms = sink->program->n_forms;
	for (uint32_t i = 0; i < message->n_forms; i++)
		message->forms[i] = (struct dpcap_queue_form){
			.form = sink->program->numbers[i],
			.cycles = atomic_load_explicit(&chooser->cost[i], memory_order_relaxed),
			.bursts = atomic_load_explicit(&chooser->ran[i], memory_order_relaxed),
		};
}

static void
handle_stats(struct session *s, uint32_t seq)
{
	uint32_t count = 0;

	for (struct sink *sink = s->sinks; sink != NULL; sink = sink->sibling) {
		struct dpcap_msg_queue message = { 0 };

		show(sink);
		describe_sink(sink, &message);
		if (reply(s, &message, DPCAP_MSG_QUEUE, sizeof(message), seq, -1) != 0)
			return;
		count++;
	}
	reply_end(s, seq, count);
}

/* ---- Receiving -------------------------------------------------------------- */

/* More than any request carries, so that a surplus is seen and closed. */
#define MAX_FDS 4

/*
 * One datagram. Returns its size, 0 at the end of the connection, or a negative errno. *lost:
 * descriptors came along that this process has no room for, or more than any request carries.
 */
static ssize_t
receive(int socket, void *buffer, size_t size, int *fds, unsigned int *n_fds, bool *lost)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = buffer, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	*n_fds = 0;
	*lost = false;
	do
		n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*lost = (msg.msg_flags & MSG_CTRUNC) != 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*n_fds = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
	}
	return n;
}

/* Answer a request that was not looked into. */
static void
refuse(struct session *s, const void *datagram, size_t size, int err, const char *why)
{
	struct dpcap_msg_hdr hdr = { 0 };

	memcpy(&hdr, datagram, size < sizeof(hdr) ? size : sizeof(hdr));
	reply_error(s, hdr.seq, err, why);
}

static void
handle(struct session *s, const void *datagram, size_t size, const int *fds, unsigned int n_fds)
{
	struct dpcap_request request;
	const char *why;
	int err = dpcap_message_parse(datagram, size, n_fds, &request, &why);

	if (err == 0 && !s->greeted && request.type != DPCAP_MSG_HELLO) {
		err = -EPROTO;
		why = "the first request has to be HELLO";
	}
	if (err != 0) {
		reply_error(s, request.seq, err, why);
		s->over |= dpcap_message_fatal(err);
		return;
	}
	switch (request.type) {
	case DPCAP_MSG_HELLO:
		handle_hello(s, request.seq);
		break;
	case DPCAP_MSG_PORTS:
		handle_ports(s, request.seq);
		break;
	case DPCAP_MSG_ATTACH:
		handle_attach(s, &request.attach, n_fds > 0 ? fds[0] : -1);
		break;
	case DPCAP_MSG_PARK:
	case DPCAP_MSG_WAKE:
		s->asks = request.type;
		s->asks_seq = request.seq;
		break;
	case DPCAP_MSG_STATS:
		handle_stats(s, request.seq);
		break;
	}
}

/* One request a call: clients take turns. */
bool
session_readable(struct session *s)
{
	_Alignas(8) uint8_t datagram[DPCAP_MAX_REQUEST + 1]; /* one more: a longer one shows */
	int fds[MAX_FDS];
	unsigned int n_fds;
	bool lost;
	ssize_t n = receive(s->fd, datagram, sizeof(datagram), fds, &n_fds, &lost);

	if (n == -EAGAIN)
		return true;
	if (n > 0 && lost && n_fds == 0)
		refuse(s, datagram, (size_t)n, -EMFILE, "Too many open files: the application has no descriptor left");
	else if (n > 0 && !s->over)
		handle(s, datagram, (size_t)n, fds, n_fds);
	while (n_fds > 0)
		close(fds[--n_fds]);
	return n > 0 && (!s->over || !outbox_is_empty(&s->outbox));
}

bool
session_writable(struct session *s)
{
	if (outbox_flush(&s->outbox) != 0)
		return false;
	return !s->over || !outbox_is_empty(&s->outbox);
}

bool
session_wants_write(const struct session *s)
{
	return !outbox_is_empty(&s->outbox);
}

uint16_t
session_asks(const struct session *s)
{
	return s->asks;
}

void
session_done(struct session *s, uint32_t ended)
{
	s->asks = 0;
	reply_end(s, s->asks_seq, ended);
}

void
sessions_park(bool park)
{
	parked = park;
}

bool
session_is_attached(const struct session *s)
{
	return s->attached;
}

void
session_free(struct session *s)
{
	detach(s);
	outbox_clear(&s->outbox);
	free(s);
}
