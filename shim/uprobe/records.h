/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel side (probe.bpf.c) and the pump (pump.c) have in common: the records
 * in the BPF ring buffers, the counters, and the configuration that is written into the
 * object file before it is loaded.
 *
 * Include <stdint.h>, or <linux/types.h> and the names of stdint, before.
 */
#ifndef DPCAP_UPROBE_RECORDS_H
#define DPCAP_UPROBE_RECORDS_H

#define UPROBE_MAX_THREADS 128 /* that call into a driver while a capture runs */
#define UPROBE_MAX_RINGS 256   /* queues, both directions counted */
#define UPROBE_MAX_BURST 512   /* packets looked at in a burst; a power of two */
#define UPROBE_MAX_DATA 65535  /* bytes of a packet; one less than a power of two */

#define UPROBE_IN 1
#define UPROBE_OUT 2

/* One packet, in the ring buffer `packets`. Its caplen bytes follow. */
struct uprobe_record {
	uint64_t time_ns; /* CLOCK_MONOTONIC, of the burst */
	uint64_t ol_flags; /* of the mbuf */
	uint32_t caplen;
	uint32_t wirelen; /* VLAN tags that were put back included */
	uint32_t rss;	  /* of the mbuf */
	uint32_t burst;	  /* counts the thread's bursts */
	uint16_t ring;
	uint16_t index; /* in its burst */
	uint16_t thread;
	uint16_t reserved;
};

/* A burst of which the driver did not take all, in the ring buffer `refusals`. */
struct uprobe_refusal {
	uint32_t burst;
	uint16_t thread;
	uint16_t taken; /* packets; those behind were refused */
};

/* Element thread * UPROBE_MAX_RINGS + ring of `counters`; written by that thread alone. */
struct uprobe_counters {
	uint64_t bursts;   /* that were not empty */
	uint64_t packets;  /* received, or taken by the driver */
	uint64_t seen;	   /* received, or offered to the driver: only in a capture */
	uint64_t lost;	   /* not captured: no room in the ring buffer, or not readable */
	uint64_t polls;	   /* calls, the empty ones too: only of a candidate */
	uint64_t sound;	   /* bursts whose first packet looks like one: only of a candidate */
};

/* Element of `threads`. */
struct uprobe_thread {
	uint32_t tid;	   /* in the first pid namespace; 0: nobody has it yet */
	uint32_t resolved; /* bursts up to this one have ended */
};

/* Key and value of `queues`: the driver's first argument, and whose it is. */
struct uprobe_queue_key {
	uint64_t pointer; /* 0 with any_queue */
	uint64_t direction;
};

struct uprobe_queue {
	uint64_t meta; /* the filter's fourth argument */
	uint32_t ring;
	uint32_t reserved;
};

/* Constants of a loaded program: the verifier drops what they switch off. */
struct uprobe_config {
	uint32_t capture;	/* 0: count only */
	uint32_t sample;	/* one packet in so many; 1: all */
	uint32_t snaplen;	/* bytes, at most UPROBE_MAX_DATA */
	uint32_t filter_bytes;	/* of a packet that the filter may look at; 0: no filter in the kernel */
	uint32_t candidate;	/* count all calls, and see whether packets look right */
	uint32_t any_queue;	/* everything belongs to the queue of pointer 0 */
	uint32_t queue_argument; /* positions of arguments, from 0 */
	uint32_t pkts_argument;
	uint32_t n_argument;
};

#endif /* DPCAP_UPROBE_RECORDS_H */
