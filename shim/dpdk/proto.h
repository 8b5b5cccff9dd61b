/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control protocol between dpcap and the shim: datagrams on a
 * SOCK_SEQPACKET unix socket, "dpcap.<pid>.sock" in the EAL runtime directory of
 * the application (/var/run/dpdk/<file-prefix>/), <pid> as the application sees
 * itself. The application's user and root may connect.
 *
 * The connection is the capture: when it closes, the shim takes the hooks out.
 * This header is read by the C compiler and by cffi: declarations and plain
 * #defines only.
 *
 *   client                              shim
 *     | -- HELLO ------------------------> |
 *     | <------------------------- INFO -- |
 *     | -- PORTS ------------------------> |
 *     | <--------------- PORT, one each -- |
 *     | <-------------------------- END -- |
 *     | -- ATTACH + memfd of programs ---> |
 *     | <---- RING + memfd, one a queue -- |    later: RING for a queue that appears
 *     | <-------------------------- END -- |    or, to count: one COUNTERS + memfd, END
 *     | -- STATS ------------------------> |    at any time
 *     | <-------------- QUEUE, one each -- |
 *     | <-------------------------- END -- |
 *     | -- close ------------------------> |    hooks out
 *
 * PARK ends all captures, takes every hook out of the application and lets the shim's
 * thread sleep; ATTACH is refused from then on, until WAKE. Both are answered by END when
 * it is done, with the number of captures that were ended.
 *
 * Any request may be answered by ERROR instead. After an ERROR for a message that
 * makes no sense (EPROTO, EMSGSIZE) the shim closes the connection; after any other
 * the session goes on. One session attaches once.
 *
 * A filter comes in one or more forms: programs that give the same answers by other
 * means. Each queue runs the one that is cheapest on its packets (chooser.h), the first
 * one for preference. The memfd holds one form after the other, each n_insns instructions
 * of 8 bytes, then rodata_size bytes of read-only tables; each starts at a multiple of
 * DPCAP_FORM_ALIGNMENT bytes. A form that the verifier refuses is left out, unless none
 * remains. Reserved fields are 0.
 *
 * A port that is closed closes its rings (dpcap_ring_shm.closed); a device that
 * takes its id later gets new ones, announced by RING with sequence number 0.
 */
#ifndef DPCAP_PROTO_H
#define DPCAP_PROTO_H

#include <stdint.h>

#define DPCAP_PROTO_MAGIC 0x70616364 /* "dcap" in memory */
#define DPCAP_PROTO_VERSION 2
#define DPCAP_MAX_PORTS 32
#define DPCAP_MAX_FORMS 8
#define DPCAP_FORM_ALIGNMENT 8
#define DPCAP_NAME_SIZE 64
#define DPCAP_ERROR_SIZE 4096

/* Limits of one session. */
#define DPCAP_MAX_RODATA 16777216      /* bytes, of all forms: 16 MiB */
#define DPCAP_MAX_RING_SIZE 268435456 /* bytes of data of one ring: 256 MiB */

enum dpcap_msg_type {
	DPCAP_MSG_HELLO = 1,
	DPCAP_MSG_INFO = 2,
	DPCAP_MSG_PORTS = 3,
	DPCAP_MSG_PORT = 4,
	DPCAP_MSG_ATTACH = 5,
	DPCAP_MSG_RING = 6,
	DPCAP_MSG_END = 7,
	DPCAP_MSG_ERROR = 8,
	DPCAP_MSG_PARK = 9,
	DPCAP_MSG_WAKE = 10,
	DPCAP_MSG_STATS = 11,
	DPCAP_MSG_QUEUE = 12,
	DPCAP_MSG_COUNTERS = 13
};

/* Starts every message. */
struct dpcap_msg_hdr {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint32_t size; /* bytes of the whole message, this header included */
	uint32_t seq;  /* of the request; replies repeat it, later events carry 0 */
};

struct dpcap_msg_info {
	struct dpcap_msg_hdr hdr;
	uint32_t pid; /* as the application sees itself */
	uint32_t primary; /* 1: primary process, 0: secondary */
	uint32_t jit; /* 1: the JIT works on this machine */
	uint32_t parked; /* 1: since DPCAP_MSG_PARK */
	char dpdk_version[DPCAP_NAME_SIZE];
	char shim_version[DPCAP_NAME_SIZE];
	char app_name[DPCAP_NAME_SIZE];
};

struct dpcap_msg_port {
	struct dpcap_msg_hdr hdr;
	uint16_t port;
	uint16_t n_rx_queues;
	uint16_t n_tx_queues;
	uint16_t started;
	uint8_t mac[6];
	uint16_t mtu;
	uint64_t speed; /* bit/s, 0: unknown */
	char name[DPCAP_NAME_SIZE];   /* device name: net_pcap0, 0000:03:00.0 */
	char driver[DPCAP_NAME_SIZE];
};

/* struct dpcap_msg_info.primary */
#define DPCAP_PROCESS_SECONDARY 0
#define DPCAP_PROCESS_PRIMARY 1

#define DPCAP_DIRECTION_IN 1
#define DPCAP_DIRECTION_OUT 2

#define DPCAP_ENGINE_JIT 0
#define DPCAP_ENGINE_INTERP 1

struct dpcap_attach_port {
	uint16_t port;
	uint16_t reserved;
	uint32_t interface_id; /* pcapng interface id for this port's packets */
};

struct dpcap_attach_form {
	uint32_t n_insns;
	uint32_t rodata_size; /* bytes */
};

/*
 * A program's result is the number of bytes to keep of the packet, 0 for none. With
 * this flag every result but 0 means snaplen bytes, as all compiled expressions
 * return: only then can the hook run the program's burst entry, which tells no more
 * than yes or no, and only then may there be several forms.
 */
#define DPCAP_ATTACH_WHOLE 1

/*
 * Count instead of capturing: there are no rings but one table of counters (counters.h),
 * where queues that appear later get slots without a message. Without forms, and then
 * without a memfd, nothing is counted as matched. snaplen and ring_size do not matter.
 */
#define DPCAP_ATTACH_COUNT 2

struct dpcap_msg_attach {
	struct dpcap_msg_hdr hdr;
	uint32_t flags;	     /* DPCAP_ATTACH_* or'ed */
	uint32_t snaplen;    /* bytes kept of a packet, 1..262144 */
	uint32_t directions; /* DPCAP_DIRECTION_* or'ed */
	uint32_t engine;     /* DPCAP_ENGINE_* */
	uint32_t n_forms;
	uint32_t n_ports;
	uint64_t ring_size; /* bytes of data for each ring, rounded up; 0: default */
	struct dpcap_attach_form forms[DPCAP_MAX_FORMS];
	struct dpcap_attach_port ports[DPCAP_MAX_PORTS];
};

struct dpcap_msg_ring {
	struct dpcap_msg_hdr hdr;
	uint16_t port;
	uint16_t queue;
	uint32_t direction;
	uint32_t interface_id;
	uint32_t reserved;
	uint64_t memfd_size;
};

struct dpcap_msg_counters {
	struct dpcap_msg_hdr hdr;
	uint64_t memfd_size;
};

/* What a queue knows of a form. */
struct dpcap_queue_form {
	uint32_t form;	 /* its place in the ATTACH request */
	uint32_t cycles; /* a packet, in 1/256 TSC cycles: a moving average; 0: not measured yet */
	uint64_t bursts; /* that it has run */
};

struct dpcap_msg_queue {
	struct dpcap_msg_hdr hdr;
	uint16_t port;
	uint16_t queue;
	uint32_t direction;
	uint64_t received; /* packets the hook saw */
	uint32_t best;	   /* index in forms of the one that runs, but for tries */
	uint32_t n_forms;  /* that the verifier accepted; 0: packets are run one by one */
	struct dpcap_queue_form forms[DPCAP_MAX_FORMS];
};

struct dpcap_msg_end {
	struct dpcap_msg_hdr hdr;
	uint32_t count; /* PORT, RING, QUEUE or COUNTERS messages that went before, or captures that were ended */
	uint32_t reserved;
};

struct dpcap_msg_error {
	struct dpcap_msg_hdr hdr;
	int32_t code; /* errno */
	uint32_t reserved;
	char text[DPCAP_ERROR_SIZE]; /* one line, then where it helps a log */
};

#endif /* DPCAP_PROTO_H */
