/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kill_at N COMMAND...: run a command and kill it at the N-th stop, counted from its first
 * ptrace(2) on, where each system call stops twice: before and after. Between two stops a
 * program changes nothing but itself, so all N together are every instruction.
 *
 * Exit status: 0 killed; 1 the command ended before.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	long left = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
	bool counting = false;
	struct user_regs_struct regs;
	int status, number;
	pid_t pid;

	if (left <= 0)
		return 2;
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
	for (number = 0; ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)number) == 0;) {
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return 1;
		number = WSTOPSIG(status);
		if (number != (SIGTRAP | 0x80)) {
			number = number == SIGTRAP ? 0 : number; /* that of execve() is not for it */
			continue;
		}
		number = 0;
		ptrace(PTRACE_GETREGS, pid, NULL, &regs);
		counting = counting || regs.orig_rax == SYS_ptrace;
		if (counting && --left == 0) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return 0;
		}
	}
	return 1;
}
