/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: whatever a client sends, the parser reads no byte beyond it, and
 * what it lets pass is in the ranges that proto.h gives.
 *
 *	cmake -B build/fuzz -DDPCAP_FUZZ=ON -DCMAKE_C_COMPILER=clang && cmake --build build/fuzz
 *	build/fuzz/tests/shim/dpdk/dpdk_message_fuzz -max_len=400
 */
#include <stdlib.h>
#include <string.h>

#include "dpcap_vm.h"
#include "message.h"
#include "ring.h"

#define REQUIRE(condition)       \
	do {                     \
		if (!(condition)) \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpcap_request request;
	const char *why;
	unsigned int n_fds;
	int err;

	if (size == 0)
		return 0;
	/* The first byte is the number of descriptors. */
	n_fds = data[0] & 3;
	err = dpcap_message_parse(data + 1, size - 1, n_fds, &request, &why);
	if (err != 0) {
		REQUIRE(why != NULL && err < 0);
		return 0;
	}
	REQUIRE(n_fds == (request.type == DPCAP_MSG_ATTACH && request.attach.n_forms > 0));
	if (request.type != DPCAP_MSG_ATTACH)
		return 0;
	REQUIRE(request.attach.snaplen >= 1 && request.attach.snaplen <= DPCAP_SNAPLEN_MAX);
	REQUIRE(request.attach.n_forms >= 1 || request.attach.flags & DPCAP_ATTACH_COUNT);
	REQUIRE(request.attach.n_forms <= DPCAP_MAX_FORMS);
	for (uint32_t i = 0; i < request.attach.n_forms; i++) {
		REQUIRE(request.attach.forms[i].n_insns >= 1);
		REQUIRE(request.attach.forms[i].n_insns <= DPCAP_VM_MAX_INSNS);
		REQUIRE(request.attach.forms[i].rodata_size <= DPCAP_MAX_RODATA);
	}
	REQUIRE(request.attach.ring_size <= DPCAP_MAX_RING_SIZE);
	REQUIRE(request.attach.n_ports >= 1 && request.attach.n_ports <= DPCAP_MAX_PORTS);
	return 0;
}
