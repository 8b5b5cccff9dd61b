/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process that writes capture rings, for tests of their reader: the writer of
 * shim/ring without a DPDK application around it. It announces its rings on a
 * control socket as the shim does after an attach, then obeys its standard input:
 *
 *	ring QUEUE DIRECTION SIZE	make a ring of SIZE bytes and announce it
 *	end				end the reply that the rings so far belong to
 *	packets RING N LEN		write N packets of LEN bytes, 1 us apart
 *	flood RING LEN			write until the ring is full
 *	close RING			as a hook that is gone
 *	hangup				close the control socket
 *
 * and answers each with a line. Usage: ring_producer SOCKET-FD
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "epb.h"
#include "proto.h"
#include "ring.h"

#define MAX_RINGS 64

static struct dpcap_ring_writer *rings[MAX_RINGS];
static unsigned int n_rings;
static uint32_t seq = 1; /* of the attach request; 0 once it was answered */
static int control;

static void
send_message(void *message, size_t size, uint16_t type, int fd)
{
	struct iovec iov = { .iov_base = message, .iov_len = size };
	char space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct dpcap_msg_hdr *hdr = message;

	*hdr = (struct dpcap_msg_hdr){ DPCAP_PROTO_MAGIC, DPCAP_PROTO_VERSION, type, (uint32_t)size, seq };
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = space;
		msg.msg_controllen = sizeof(space);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	if (sendmsg(control, &msg, 0) < 0)
		exit(1);
}

static void
make_ring(unsigned int queue, unsigned int direction, unsigned long size)
{
	struct dpcap_ring_params params = {
		.data_size = size,
		.queue = (uint16_t)queue,
		.direction = direction,
		.snaplen = DPCAP_SNAPLEN_MAX,
	};
	struct dpcap_msg_ring message = { .queue = (uint16_t)queue, .direction = direction };

	if (n_rings == MAX_RINGS || (rings[n_rings] = dpcap_ring_create(&params)) == NULL)
		exit(1);
	message.memfd_size = dpcap_ring_memfd_size(rings[n_rings]);
	send_message(&message, sizeof(message), DPCAP_MSG_RING, dpcap_ring_fd(rings[n_rings]));
	n_rings++;
}

static void
end_reply(void)
{
	struct dpcap_msg_end message = { .count = n_rings };

	send_message(&message, sizeof(message), DPCAP_MSG_END, -1);
	seq = 0;
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Packets carry their number; 0 for n: until the ring is full. */
static unsigned long
write_packets(struct dpcap_ring_writer *w, unsigned long n, uint32_t len)
{
	static uint8_t packet[DPCAP_SNAPLEN_MAX];
	static uint32_t number;
	unsigned long i;
	uint64_t start;

	dpcap_ring_begin(w);
	start = now_ns();
	for (i = 0; n == 0 || i < n; i++) {
		struct dpcap_epb epb = {
			.ts_ns = dpcap_ring_stamp(w, start + i),
			.caplen = len,
			.origlen = len,
		};

		memcpy(packet, &number, sizeof(number));
		number++;
		dpcap_ring_received(w, 1);
		if (!dpcap_epb_put(w, &epb, packet) && n == 0)
			break;
	}
	dpcap_ring_publish(w);
	return i;
}

int
main(int argc, char **argv)
{
	char line[128];
	unsigned int ring, queue, direction;
	unsigned long n, size, len;

	if (argc != 2)
		return 2;
	control = atoi(argv[1]);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		n = 0;
		if (sscanf(line, "ring %u %u %lu", &queue, &direction, &size) == 3)
			make_ring(queue, direction, size);
		else if (strcmp(line, "end\n") == 0)
			end_reply();
		else if (sscanf(line, "packets %u %lu %lu", &ring, &n, &len) == 3 && ring < n_rings)
			n = write_packets(rings[ring], n, (uint32_t)len);
		else if (sscanf(line, "flood %u %lu", &ring, &len) == 2 && ring < n_rings)
			n = write_packets(rings[ring], 0, (uint32_t)len);
		else if (sscanf(line, "close %u", &ring) == 1 && ring < n_rings)
			dpcap_ring_close(rings[ring]);
		else if (strcmp(line, "hangup\n") == 0)
			close(control);
		else
			return 2;
		printf("%lu\n", n);
		fflush(stdout);
	}
	return 0;
}
