/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frame.h"
#include "program.h"

/*
 * Read exactly size bytes. Never by mmap: the client could truncate the file and have
 * the application killed by SIGBUS.
 */
static int
read_all(int fd, void *buffer, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (char *)buffer + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

int
program_load(const struct dpcap_msg_attach *attach, int memfd, struct program **out, char *text,
	     size_t text_size)
{
	const struct dpcap_vm_burst_layout layout = FRAME_BURST_LAYOUT;
	const size_t insns_size = attach->n_insns * sizeof(struct dpcap_insn);
	struct dpcap_vm_load_attr attr = { .type = DPCAP_VM_PACKET };
	struct program *program = calloc(1, sizeof(*program));
	uint8_t *code = malloc(insns_size + attach->rodata_size);
	int err = -ENOMEM;

	snprintf(text, text_size, "out of memory");
	if (program == NULL || code == NULL)
		goto out;
	/* Only memory can be read without fear of waiting for ever: seals mean memfd. */
	snprintf(text, text_size, "the program is not in a memfd");
	err = -EINVAL;
	if (fcntl(memfd, F_GET_SEALS) < 0)
		goto out;
	snprintf(text, text_size, "the memfd is shorter than the program");
	err = read_all(memfd, code, insns_size + attach->rodata_size);
	if (err != 0)
		goto out;

	attr.insns = (const struct dpcap_insn *)code;
	attr.n_insns = attach->n_insns;
	attr.rodata = attach->rodata_size == 0 ? NULL : code + insns_size;
	attr.rodata_size = attach->rodata_size;
	snprintf(text, text_size, "the verifier refused the program");
	err = dpcap_vm_load(&attr, &program->vm, text, text_size);
	if (err != 0)
		goto out;
	program->references = 1;
	/* -ENOTSUP: no JIT for this machine, the interpreter does it. */
	if (attach->engine == DPCAP_ENGINE_JIT && dpcap_vm_jit(program->vm) == 0) {
		program->jit = dpcap_vm_jit_entry(program->vm);
		if ((attach->flags & DPCAP_ATTACH_WHOLE) && dpcap_vm_jit_burst(program->vm, &layout) == 0)
			program->burst = dpcap_vm_burst_entry(program->vm);
	}
	*out = program;
	program = NULL;
out:
	free(code);
	free(program);
	return err;
}

struct program *
program_get(struct program *program)
{
	program->references++;
	return program;
}

void
program_put(struct program *program)
{
	if (program == NULL || --program->references > 0)
		return;
	dpcap_vm_free(program->vm);
	free(program);
}
