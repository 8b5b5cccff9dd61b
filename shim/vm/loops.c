/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loops are the strongly connected components (Tarjan 1972) of the flow graph.
 * The block by which a component is first met is its head; without the edges to
 * the head, what remains of the component is ordered in the same way.
 */
#include <errno.h>
#include <stdlib.h>

#include "loops.h"

struct vertex {
	uint32_t number;  /* in order of discovery, from 1; 0: not met */
	uint32_t lowest;  /* number of the first vertex known to be reached */
	uint8_t edge;	  /* edges followed so far */
	bool on_stack;	  /* its component is not complete */
	uint8_t depth;	  /* of the component that is being ordered */
	bool is_head;
};

struct walk {
	struct cfg *cfg;
	const struct function *function;
	struct vertex *vertices; /* of the function's blocks */
	uint32_t *path;		 /* blocks being visited, one below the other */
	uint32_t *component;	 /* Tarjan's stack */
	uint32_t n_component;
	uint32_t number;
};

static struct vertex *vertex_of(struct walk *walk, uint32_t block)
{
	return &walk->vertices[block - walk->function->first_block];
}

/* The edge's end, if it is in the component being ordered and not its head. */
static uint32_t edge_target(struct walk *walk, uint32_t block, unsigned int edge, uint8_t depth)
{
	const struct block *b = &walk->cfg->blocks[block];
	uint32_t target = edge == 0 ? b->next : b->jump;

	if (target == NO_BLOCK || vertex_of(walk, target)->depth != depth)
		return NO_BLOCK;
	return target;
}

static int order_component(struct walk *walk, const uint32_t *blocks, uint32_t n, uint8_t depth,
			   struct dpcap_vm_log *log);

/*
 * Depth-first from one block. Complete components are moved from Tarjan's stack
 * to `done`, the last in flow first; ends[] marks where each of them ends.
 */
static uint32_t visit(struct walk *walk, uint32_t root, uint8_t depth, uint32_t *done,
		      uint32_t n_done, bool *ends)
{
	uint32_t n_path = 0;

	walk->path[n_path++] = root;
	while (n_path) {
		uint32_t block = walk->path[n_path - 1], target;
		struct vertex *vertex = vertex_of(walk, block);

		if (!vertex->number) {
			vertex->number = vertex->lowest = ++walk->number;
			vertex->edge = 0;
			vertex->on_stack = true;
			walk->component[walk->n_component++] = block;
		}
		if (vertex->edge < 2) {
			struct vertex *other;

			target = edge_target(walk, block, vertex->edge++, depth);
			if (target == NO_BLOCK)
				continue;
			other = vertex_of(walk, target);
			if (!other->number)
				walk->path[n_path++] = target;
			else if (other->on_stack && other->number < vertex->lowest)
				vertex->lowest = other->number;
			continue;
		}
		n_path--;
		if (n_path) {
			struct vertex *parent = vertex_of(walk, walk->path[n_path - 1]);

			if (vertex->lowest < parent->lowest)
				parent->lowest = vertex->lowest;
		}
		if (vertex->lowest == vertex->number) {
			do {
				target = walk->component[--walk->n_component];
				vertex_of(walk, target)->on_stack = false;
				done[n_done++] = target;
			} while (target != block);
			ends[n_done - 1] = true;
		}
	}
	return n_done;
}

static bool loops_to_itself(const struct cfg *cfg, uint32_t block)
{
	return cfg->blocks[block].next == block || cfg->blocks[block].jump == block;
}

/* A component whose blocks are members[0..n), the head last. */
static int emit_component(struct walk *walk, const uint32_t *members, uint32_t n, uint8_t depth,
			  struct dpcap_vm_log *log)
{
	struct cfg *cfg = walk->cfg;
	uint32_t head = members[n - 1], place = cfg->n_order++;
	int rc = 0;

	cfg->order[place] = (struct order){head, place};
	if (n == 1 && !loops_to_itself(cfg, head))
		return 0;
	if (depth == MAX_LOOP_DEPTH) {
		dpcap_vm_log_printf(log, "insn %u: loops are nested more than %d deep\n",
				    cfg->blocks[head].start, MAX_LOOP_DEPTH);
		return -EINVAL;
	}
	if (n > 1)
		rc = order_component(walk, members, n - 1, (uint8_t)(depth + 1), log);
	cfg->order[place].loop_end = cfg->n_order;
	return rc;
}

static int order_component(struct walk *walk, const uint32_t *blocks, uint32_t n, uint8_t depth,
			   struct dpcap_vm_log *log)
{
	uint32_t *done = malloc(n * sizeof(*done)), n_done = 0, end;
	bool *ends = calloc(n, sizeof(*ends));
	int rc = -ENOMEM;

	if (!done || !ends)
		goto out;
	for (uint32_t i = 0; i < n; i++) {
		vertex_of(walk, blocks[i])->depth = depth;
		vertex_of(walk, blocks[i])->number = 0;
	}
	/* Last met first: the order of flow where blocks came from a component. */
	for (uint32_t i = n; i-- > 0;)
		if (!vertex_of(walk, blocks[i])->number)
			n_done = visit(walk, blocks[i], depth, done, n_done, ends);
	rc = 0;
	for (end = n_done; end > 0 && !rc;) {
		uint32_t start = end - 1;

		while (start > 0 && !ends[start - 1])
			start--;
		rc = emit_component(walk, done + start, end - start, depth, log);
		end = start;
	}
out:
	free(done);
	free(ends);
	return rc;
}

/* The blocks that can be reached from the start, into blocks[]. */
static uint32_t find_reachable(struct walk *walk, uint32_t *blocks)
{
	uint32_t n = 0, n_path = 0;

	walk->path[n_path++] = walk->function->first_block;
	vertex_of(walk, walk->function->first_block)->number = 1;
	while (n_path) {
		uint32_t block = walk->path[--n_path];

		blocks[n++] = block;
		for (unsigned int edge = 0; edge < 2; edge++) {
			uint32_t target = edge_target(walk, block, edge, 0);

			if (target == NO_BLOCK || vertex_of(walk, target)->number)
				continue;
			vertex_of(walk, target)->number = 1;
			walk->path[n_path++] = target;
		}
	}
	return n;
}

int loops_order(struct cfg *cfg, struct function *function, struct dpcap_vm_log *log)
{
	struct walk walk = {.cfg = cfg, .function = function};
	uint32_t *blocks = malloc(function->n_blocks * sizeof(*blocks)), n;
	int rc = -ENOMEM;

	walk.vertices = calloc(function->n_blocks, sizeof(*walk.vertices));
	walk.path = malloc(function->n_blocks * sizeof(*walk.path));
	walk.component = malloc(function->n_blocks * sizeof(*walk.component));
	function->first_order = cfg->n_order;
	if (walk.vertices && walk.path && walk.component && blocks) {
		n = find_reachable(&walk, blocks);
		/* The start is visited first, so that it heads what loops to it. */
		blocks[0] = blocks[n - 1];
		blocks[n - 1] = function->first_block;
		rc = order_component(&walk, blocks, n, 1, log);
	}
	function->n_order = cfg->n_order - function->first_order;
	free(walk.vertices);
	free(walk.path);
	free(walk.component);
	free(blocks);
	return rc;
}
