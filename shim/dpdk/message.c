/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "dpcap_vm.h"
#include "message.h"
#include "ring.h"

/* What a request must look like before its fields are read. */
static const struct {
	uint16_t type;
	uint16_t n_fds;
	uint32_t size;
} forms[] = {
	{ DPCAP_MSG_HELLO, 0, sizeof(struct dpcap_msg_hdr) },
	{ DPCAP_MSG_PORTS, 0, sizeof(struct dpcap_msg_hdr) },
	{ DPCAP_MSG_ATTACH, 1, sizeof(struct dpcap_msg_attach) },
	{ DPCAP_MSG_PARK, 0, sizeof(struct dpcap_msg_hdr) },
	{ DPCAP_MSG_WAKE, 0, sizeof(struct dpcap_msg_hdr) },
	{ DPCAP_MSG_STATS, 0, sizeof(struct dpcap_msg_hdr) },
};

static const char *
check_attach_ports(const struct dpcap_msg_attach *attach)
{
	uint32_t i, j;

	if (attach->n_ports == 0 || attach->n_ports > DPCAP_MAX_PORTS)
		return "attach: n_ports is not in 1..32";
	for (i = 0; i < attach->n_ports; i++) {
		if (attach->ports[i].reserved != 0)
			return "attach: a reserved field is not 0";
		for (j = 0; j < i; j++)
			if (attach->ports[j].port == attach->ports[i].port)
				return "attach: a port is given twice";
	}
	return NULL;
}

/* Whether it needs no program. */
static bool
counts_all(const struct dpcap_msg_attach *attach)
{
	return attach->flags & DPCAP_ATTACH_COUNT && attach->n_forms == 0;
}

static const char *
check_attach_forms(const struct dpcap_msg_attach *attach)
{
	uint64_t rodata_size = 0;

	if (counts_all(attach))
		return NULL;
	if (attach->n_forms == 0 || attach->n_forms > DPCAP_MAX_FORMS)
		return "attach: n_forms is not in 1..8";
	if (attach->n_forms > 1 && !(attach->flags & DPCAP_ATTACH_WHOLE))
		return "attach: several forms whose results are lengths";
	for (uint32_t i = 0; i < attach->n_forms; i++) {
		if (attach->forms[i].n_insns == 0 || attach->forms[i].n_insns > DPCAP_VM_MAX_INSNS)
			return "attach: a program does not have 1..65536 instructions";
		rodata_size += attach->forms[i].rodata_size;
	}
	if (rodata_size > DPCAP_MAX_RODATA)
		return "attach: more than 16 MiB of read-only tables";
	return NULL;
}

/* Returns NULL, or what is wrong. */
static const char *
check_attach(const struct dpcap_msg_attach *attach)
{
	const char *why;

	if (attach->flags & ~(uint32_t)(DPCAP_ATTACH_WHOLE | DPCAP_ATTACH_COUNT))
		return "attach: unknown flags";
	if (attach->snaplen == 0 || attach->snaplen > DPCAP_SNAPLEN_MAX)
		return "attach: snaplen is not in 1..262144";
	if (attach->directions == 0 ||
	    attach->directions & ~(uint32_t)(DPCAP_DIRECTION_IN | DPCAP_DIRECTION_OUT))
		return "attach: directions is none of in, out and both";
	if (attach->engine != DPCAP_ENGINE_JIT && attach->engine != DPCAP_ENGINE_INTERP)
		return "attach: unknown engine";
	if (attach->ring_size > DPCAP_MAX_RING_SIZE)
		return "attach: more than 256 MiB a ring";
	why = check_attach_forms(attach);
	return why != NULL ? why : check_attach_ports(attach);
}

int
dpcap_message_parse(const void *datagram, size_t size, unsigned int n_fds,
		    struct dpcap_request *request, const char **why)
{
	struct dpcap_msg_hdr hdr;
	unsigned int n_wanted;
	size_t i;

	memset(request, 0, sizeof(*request));
	*why = "shorter than a message header";
	if (size < sizeof(hdr))
		return -EPROTO;
	memcpy(&hdr, datagram, sizeof(hdr));
	*why = "not a dpcap message";
	if (hdr.magic != DPCAP_PROTO_MAGIC)
		return -EPROTO;
	request->type = hdr.type;
	request->seq = hdr.seq;
	*why = "this shim speaks version 2 of the protocol: use the dpcap that came with it";
	if (hdr.version != DPCAP_PROTO_VERSION)
		return -EPROTO;
	*why = "the size in the header is not that of the message";
	if (hdr.size != size)
		return -EMSGSIZE;

	*why = "unknown request";
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (forms[i].type == hdr.type)
			break;
	if (i == sizeof(forms) / sizeof(forms[0]))
		return -EPROTO;
	*why = "wrong size for this request";
	if (forms[i].size != size)
		return -EMSGSIZE;
	n_wanted = forms[i].n_fds;
	if (hdr.type == DPCAP_MSG_ATTACH) {
		memcpy(&request->attach, datagram, sizeof(request->attach));
		if (counts_all(&request->attach))
			n_wanted = 0;
	}
	*why = "wrong number of descriptors for this request";
	if (n_wanted != n_fds)
		return -EPROTO;

	*why = hdr.type == DPCAP_MSG_ATTACH ? check_attach(&request->attach) : NULL;
	return *why == NULL ? 0 : -EINVAL;
}

void
dpcap_message_header(struct dpcap_msg_hdr *hdr, uint16_t type, uint32_t size, uint32_t seq)
{
	hdr->magic = DPCAP_PROTO_MAGIC;
	hdr->version = DPCAP_PROTO_VERSION;
	hdr->type = type;
	hdr->size = size;
	hdr->seq = seq;
}

bool
dpcap_message_fatal(int error)
{
	return error == -EPROTO || error == -EMSGSIZE;
}
