/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests of a client, taken apart and checked. Knows no DPDK, no sockets: the
 * fuzzer drives this parser alone.
 */
#ifndef DPCAP_MESSAGE_H
#define DPCAP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto.h"

/* Bytes of the longest request; a longer datagram is refused. */
#define DPCAP_MAX_REQUEST sizeof(struct dpcap_msg_attach)

struct dpcap_request {
	uint16_t type;
	uint32_t seq;
	struct dpcap_msg_attach attach; /* of DPCAP_MSG_ATTACH */
};

/*
 * Check one datagram of size bytes that came with n_fds descriptors.
 *
 * Returns 0 and fills *request: every field is then in the range that proto.h gives,
 * and what a program or a port is worth is for the caller to say. Else a negative
 * errno with *why set to one line for the user:
 *   -EPROTO, -EMSGSIZE   not a message of this protocol; nothing sensible can follow
 *   -EINVAL              a field out of range
 * request->seq is valid in every case, 0 when the datagram holds none.
 */
int dpcap_message_parse(const void *datagram, size_t size, unsigned int n_fds,
			struct dpcap_request *request, const char **why);

/* Fill the header of a reply to the request seq, or of an event when seq is 0. */
void dpcap_message_header(struct dpcap_msg_hdr *hdr, uint16_t type, uint32_t size, uint32_t seq);

/* Whether the connection cannot go on after this error of dpcap_message_parse(). */
bool dpcap_message_fatal(int error);

#endif /* DPCAP_MESSAGE_H */
