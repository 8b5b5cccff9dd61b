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

/* Verify the next form and keep it, or a negative errno with the reason in text. */
static int
load_form(struct program *program, const struct dpcap_attach_form *form, const uint8_t *code, char *text,
	  size_t text_size)
{
	const size_t insns_size = form->n_insns * sizeof(struct dpcap_insn);
	const struct dpcap_vm_load_attr attr = {
		.type = DPCAP_VM_PACKET,
		.insns = (const struct dpcap_insn *)code,
		.n_insns = form->n_insns,
		.rodata = form->rodata_size == 0 ? NULL : code + insns_size,
		.rodata_size = form->rodata_size,
	};

	snprintf(text, text_size, "the verifier refused the program");
	return dpcap_vm_load(&attr, &program->vm[program->n_forms], text, text_size);
}

/* All or none of the forms get a burst entry: the hook runs whichever the chooser wants. */
static void
translate(struct program *program, uint32_t flags)
{
	const struct dpcap_vm_burst_layout layout = FRAME_BURST_LAYOUT;

	/* -ENOTSUP: no JIT for this machine, the interpreter does it. */
	if (dpcap_vm_jit(program->vm[0]) != 0)
		return;
	program->jit = dpcap_vm_jit_entry(program->vm[0]);
	if (!(flags & DPCAP_ATTACH_WHOLE))
		return;
	for (uint32_t i = 0; i < program->n_forms; i++) {
		if (dpcap_vm_jit_burst(program->vm[i], &layout) != 0) {
			program->bursts[0] = NULL;
			return;
		}
		program->bursts[i] = dpcap_vm_burst_entry(program->vm[i]);
	}
}

static size_t
form_size(const struct dpcap_attach_form *form)
{
	return form->n_insns * sizeof(struct dpcap_insn) + form->rodata_size;
}

/* Where a form starts that lies behind so many bytes. */
static size_t
form_start(size_t bytes)
{
	return (bytes + DPCAP_FORM_ALIGNMENT - 1) / DPCAP_FORM_ALIGNMENT * DPCAP_FORM_ALIGNMENT;
}

int
program_load(const struct dpcap_msg_attach *attach, int memfd, struct program **out, char *text,
	     size_t text_size)
{
	struct program *program = calloc(1, sizeof(*program));
	size_t starts[DPCAP_MAX_FORMS], size = 0;
	uint8_t *code = NULL;
	int err = -ENOMEM, form_err;

	snprintf(text, text_size, "out of memory");
	for (uint32_t i = 0; i < attach->n_forms; i++) {
		starts[i] = form_start(size);
		size = starts[i] + form_size(&attach->forms[i]);
	}
	code = malloc(size);
	if (program == NULL || code == NULL)
		goto out;
	/* Only memory can be read without fear of waiting for ever: seals mean memfd. */
	snprintf(text, text_size, "the program is not in a memfd");
	err = -EINVAL;
	if (fcntl(memfd, F_GET_SEALS) < 0)
		goto out;
	snprintf(text, text_size, "the memfd is shorter than the program");
	err = read_all(memfd, code, size);
	if (err != 0)
		goto out;

	err = -EINVAL; /* becomes that of the first form */
	for (uint32_t i = 0; i < attach->n_forms; i++) {
		form_err = load_form(program, &attach->forms[i], code + starts[i], i == 0 ? text : NULL,
				     i == 0 ? text_size : 0);
		if (form_err == 0)
			program->numbers[program->n_forms++] = i;
		else if (i == 0)
			err = form_err;
	}
	if (program->n_forms == 0)
		goto out;
	program->references = 1;
	if (attach->engine == DPCAP_ENGINE_JIT)
		translate(program, attach->flags);
	*out = program;
	program = NULL;
	err = 0;
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
	for (uint32_t i = 0; i < program->n_forms; i++)
		dpcap_vm_free(program->vm[i]);
	free(program);
}
