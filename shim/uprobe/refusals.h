/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets that a driver did not take: which they were, and how they are marked. pcapng
 * has no flag for it, so it is said in the packet's comment (opt_comment), which every
 * reader shows.
 */
#ifndef DPCAP_UPROBE_REFUSALS_H
#define DPCAP_UPROBE_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "epb.h"
#include "records.h"

#define REFUSED_COMMENT "not taken by the driver"

/* The newest refusals; each is asked for within milliseconds. A place is found by thread and burst. */
#define REFUSALS_KEPT 16384

struct refusals {
	struct uprobe_refusal kept[REFUSALS_KEPT];
};

void refusals_add(struct refusals *refusals, const struct uprobe_refusal *refusal);

/* Whether the packet was refused. */
bool refusals_has(const struct refusals *refusals, const struct uprobe_record *record);

/* As dpcap_epb_put(), with the comment. */
bool refusals_put(struct dpcap_ring_writer *w, const struct dpcap_epb *epb, const void *packet);

#endif /* DPCAP_UPROBE_REFUSALS_H */
