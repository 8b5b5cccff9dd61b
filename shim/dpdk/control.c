/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "dpdk_api.h"
#include "frame.h"
#include "hooks.h"
#include "listener.h"
#include "ports.h"
#include "queue.h"
#include "session.h"

#define MAX_SESSIONS 16

/* Milliseconds. */
#define EAL_POLL 10	   /* while EAL starts */
#define TICK_ATTACHED 100  /* looks for queues and ports, corrects the clock */
#define TICK_IDLE 1000	   /* corrects the clock */
#define RECLAIM_FIRST 1	   /* while an lcore is inside a hook that was taken out */
#define RECLAIM_LAST 50
#define STOP_PATIENCE 1000 /* for the same at the end */
#define SILENCE 2000	   /* of a client that captures nothing, before its place is given away */

enum state { STOPPED, STARTING, READY, FAILED };

static struct {
	pthread_mutex_t lock; /* of state, error, pid and thread */
	pthread_cond_t changed;
	enum state state;
	int error; /* of FAILED */
	pid_t pid; /* of the process that the thread lives in */
	pthread_t thread;

	bool parked; /* no hooks, no captures, no ticks: see DPCAP_MSG_PARK */
	atomic_bool stop;
	_Atomic int epoll, wake, listening; /* descriptors, -1: none */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct {
		_Atomic int fd; /* -1: free */
		struct session *session;
		uint32_t events; /* that epoll watches */
		uint64_t heard_ms; /* when the client was last heard of */
	} slots[MAX_SESSIONS];
} control = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.epoll = -1,
	.wake = -1,
	.listening = -1,
	.slots = { [0 ... MAX_SESSIONS - 1] = { .fd = -1 } },
};

/* epoll data: a slot's number, or one of these. */
#define EVENT_LISTENING MAX_SESSIONS
#define EVENT_WAKE (MAX_SESSIONS + 1)

static void
close_descriptor(_Atomic int *descriptor)
{
	/* Forgotten before closed: a forked child closes what it finds here. */
	int fd = atomic_exchange(descriptor, -1);

	if (fd >= 0)
		close(fd);
}

static void
wake_up(void *arg)
{
	uint64_t one = 1;
	ssize_t n;

	(void)arg;
	/* Full means that it will wake up anyway. */
	n = write(atomic_load(&control.wake), &one, sizeof(one));
	(void)n;
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int
watch(int operation, int fd, uint32_t events, uint32_t what)
{
	struct epoll_event event = { .events = events, .data.u32 = what };

	return epoll_ctl(atomic_load(&control.epoll), operation, fd, &event) == 0 ? 0 : -errno;
}

/* What an lcore still holds after STOP_PATIENCE stays allocated, until the next call of queue_reclaim(). */
static void
take_hooks_out(void)
{
	uint64_t patience = now_ms() + STOP_PATIENCE;

	ports_unhook_all();
	while (queue_reclaim() != 0 && now_ms() < patience)
		usleep(RECLAIM_FIRST * 1000);
}

/* ---- Sessions --------------------------------------------------------------- */

static void
end_session(unsigned int slot)
{
	session_free(control.slots[slot].session);
	control.slots[slot].session = NULL;
	close_descriptor(&control.slots[slot].fd);
}

/*
 * A slot for a new session. When all are taken, that of the client which has been silent
 * the longest: whoever connects and says nothing cannot keep others out. MAX_SESSIONS: none.
 */
static unsigned int
find_slot(void)
{
	const uint64_t now = now_ms();
	unsigned int silent = MAX_SESSIONS;

	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++) {
		if (control.slots[slot].session == NULL)
			return slot;
		if (session_is_attached(control.slots[slot].session) || now - control.slots[slot].heard_ms < SILENCE)
			continue;
		if (silent == MAX_SESSIONS || control.slots[slot].heard_ms < control.slots[silent].heard_ms)
			silent = slot;
	}
	if (silent != MAX_SESSIONS)
		end_session(silent);
	return silent;
}

static void
start_session(int fd)
{
	const unsigned int slot = find_slot();
	struct session *session;

	if (slot == MAX_SESSIONS) {
		close(fd); /* the client reads end of file */
		return;
	}
	session = session_new(fd);
	if (session == NULL)
		return;
	control.slots[slot].session = session;
	control.slots[slot].events = EPOLLIN;
	control.slots[slot].heard_ms = now_ms();
	atomic_store(&control.slots[slot].fd, fd);
	if (watch(EPOLL_CTL_ADD, fd, EPOLLIN, slot) != 0)
		end_session(slot);
}

/* Returns false when accepting has to pause: no descriptors are left. */
static bool
accept_clients(void)
{
	int fd;

	do {
		fd = listener_accept(atomic_load(&control.listening));
		if (fd >= 0)
			start_session(fd);
	} while (fd >= 0 || fd == -EACCES || fd == -ECONNABORTED || fd == -EINTR);
	return fd == -EAGAIN;
}

static void
set_parked(bool parked)
{
	control.parked = parked;
	sessions_park(parked);
}

/* Returns the number of captures that were ended. */
static uint32_t
park(void)
{
	uint32_t ended = 0;

	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++)
		if (control.slots[slot].session != NULL && session_is_attached(control.slots[slot].session)) {
			end_session(slot);
			ended++;
		}
	take_hooks_out();
	set_parked(true);
	return ended;
}

static void
wake(void)
{
	/* The line was not corrected for as long as nobody looked. */
	if (control.parked)
		dpcap_clock_init(&hooks_clock, NULL);
	set_parked(false);
}

static void
do_what_is_asked(void)
{
	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++) {
		struct session *session = control.slots[slot].session;
		uint32_t ended = 0;

		if (session == NULL || session_asks(session) == 0)
			continue;
		if (session_asks(session) == DPCAP_MSG_PARK)
			ended = park();
		else
			wake();
		/* Who captures and parks has ended itself. */
		if (control.slots[slot].session != NULL)
			session_done(session, ended);
	}
}

static void
serve_session(unsigned int slot, uint32_t events)
{
	struct session *session = control.slots[slot].session;
	bool alive = true;

	if (session == NULL)
		return; /* ended earlier in this turn */
	control.slots[slot].heard_ms = now_ms();
	if (events & EPOLLOUT)
		alive = session_writable(session);
	if (alive && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		alive = session_readable(session);
	if (!alive)
		end_session(slot);
}

/* Watch for room in the socket exactly while something waits for it. */
static void
rewatch_sessions(void)
{
	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++) {
		struct session *session = control.slots[slot].session;
		uint32_t events;

		if (session == NULL)
			continue;
		events = EPOLLIN | (session_wants_write(session) ? EPOLLOUT : 0);
		if (events == control.slots[slot].events)
			continue;
		control.slots[slot].events = events;
		if (watch(EPOLL_CTL_MOD, atomic_load(&control.slots[slot].fd), events, slot) != 0)
			end_session(slot);
	}
}

static bool
is_attached(void)
{
	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++)
		if (control.slots[slot].session != NULL && session_is_attached(control.slots[slot].session))
			return true;
	return false;
}

static void
follow_ports(void)
{
	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++)
		if (control.slots[slot].session != NULL && !session_follow_ports(control.slots[slot].session))
			end_session(slot);
}

/* ---- The loop --------------------------------------------------------------- */

static void
clear_wake(void)
{
	uint64_t count;
	ssize_t n = read(atomic_load(&control.wake), &count, sizeof(count));

	(void)n;
}

static void
serve(void)
{
	struct epoll_event events[MAX_SESSIONS + 2];
	uint64_t next_tick = 0, now;
	int reclaim_delay = RECLAIM_FIRST, timeout, n, i;
	bool accepting = true, woken;

	while (!atomic_load(&control.stop)) {
		now = now_ms();
		timeout = control.parked ? -1 : next_tick > now ? (int)(next_tick - now) : 0;
		if (queue_reclaim() == 0) {
			reclaim_delay = RECLAIM_FIRST;
		} else {
			timeout = timeout >= 0 && timeout < reclaim_delay ? timeout : reclaim_delay;
			reclaim_delay = reclaim_delay * 2 < RECLAIM_LAST ? reclaim_delay * 2 : RECLAIM_LAST;
		}
		n = epoll_wait(atomic_load(&control.epoll), events, MAX_SESSIONS + 2, timeout);
		woken = false;
		for (i = 0; i < n; i++) {
			if (events[i].data.u32 < MAX_SESSIONS) {
				serve_session(events[i].data.u32, events[i].events);
			} else if (events[i].data.u32 == EVENT_WAKE) {
				clear_wake();
				woken = true;
			} else if (!accept_clients()) {
				/* Out of descriptors: the listening socket would stay readable. */
				watch(EPOLL_CTL_DEL, atomic_load(&control.listening), 0, 0);
				accepting = false;
			}
		}
		do_what_is_asked();
		now = now_ms();
		if (woken || now >= next_tick) {
			follow_ports();
			if (!accepting)
				accepting = watch(EPOLL_CTL_ADD, atomic_load(&control.listening), EPOLLIN,
						  EVENT_LISTENING) == 0;
		}
		if (now >= next_tick)
			dpcap_clock_correct(&hooks_clock);
		if (now >= next_tick || next_tick > now + (is_attached() ? TICK_ATTACHED : TICK_IDLE))
			next_tick = now + (is_attached() ? TICK_ATTACHED : TICK_IDLE);
		rewatch_sessions();
	}
}

/* ---- Start ------------------------------------------------------------------ */

/* Sleep, or until somebody wants the thread to stop. */
static void
pause_ms(int ms)
{
	struct epoll_event event;

	if (epoll_wait(atomic_load(&control.epoll), &event, 1, ms) > 0)
		clear_wake();
}

/*
 * A plugin is loaded early in rte_eal_init(). The TSC's frequency is set after memory
 * and heap are ready, and reading it disturbs nothing: anything else that one could
 * ask takes locks in memory that EAL is about to move. Returns false when stopped.
 */
static bool
wait_for_eal(void)
{
	while (dpdk.rte_get_tsc_hz() == 0) {
		if (atomic_load(&control.stop))
			return false;
		pause_ms(EAL_POLL);
	}
	return !atomic_load(&control.stop);
}

static void
remove_lcores(cpu_set_t *cpus)
{
	cpu_set_t lcore;

	for (unsigned int i = 0; i < CPU_SETSIZE; i++) {
		if (!dpdk.rte_lcore_is_enabled(i))
			continue;
		lcore = dpdk.rte_lcore_cpuset(i);
		CPU_AND(&lcore, &lcore, cpus);
		CPU_XOR(cpus, cpus, &lcore);
	}
}

/* Every CPU that some thread of the process may run on. */
static void
cpus_of_all_threads(cpu_set_t *cpus)
{
	const struct dirent *entry;
	DIR *dir = opendir("/proc/self/task");
	cpu_set_t some;

	CPU_ZERO(cpus);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.' && sched_getaffinity(atoi(entry->d_name), sizeof(some), &some) == 0)
			CPU_OR(cpus, cpus, &some);
	if (dir != NULL)
		closedir(dir);
}

/*
 * As EAL does with its own control threads: off the lcores' CPUs if any others are left,
 * else with the main lcore. The thread that loaded the plugin while the application ran
 * may itself have been pinned to an lcore's CPU: then the other threads tell what is left.
 */
static void
leave_lcores(void)
{
	cpu_set_t mine;

	if (dpdk.rte_lcore_is_enabled == NULL || dpdk.rte_lcore_cpuset == NULL ||
	    dpdk.rte_get_main_lcore == NULL || pthread_getaffinity_np(pthread_self(), sizeof(mine), &mine) != 0)
		return;
	remove_lcores(&mine);
	if (CPU_COUNT(&mine) == 0) {
		cpus_of_all_threads(&mine);
		remove_lcores(&mine);
	}
	if (CPU_COUNT(&mine) == 0)
		mine = dpdk.rte_lcore_cpuset(dpdk.rte_get_main_lcore());
	pthread_setaffinity_np(pthread_self(), sizeof(mine), &mine);
}

static void
set_state(enum state state, int error)
{
	pthread_mutex_lock(&control.lock);
	control.state = state;
	control.error = error;
	pthread_cond_broadcast(&control.changed);
	pthread_mutex_unlock(&control.lock);
}

/* 0, or a negative errno; the reason has been printed. */
static int
open_for_business(void)
{
	const char *directory = dpdk.rte_eal_get_runtime_dir();
	int fd, err;

	leave_lcores();
	/* First of all, for those who wait for it; they are answered when all is ready. */
	fd = listener_open(directory, control.path, sizeof(control.path));
	if (fd < 0)
		return fd;
	atomic_store(&control.listening, fd);
	queue_init();
	dpcap_clock_init(&hooks_clock, NULL);
	if (!frame_init())
		fprintf(stderr, "dpcap: this DPDK lacks __rte_pktmbuf_read: "
				"only the first segment of a packet will be seen\n");
	ports_follow(wake_up, NULL);
	err = watch(EPOLL_CTL_ADD, fd, EPOLLIN, EVENT_LISTENING);
	if (err != 0)
		fprintf(stderr, "dpcap: no captures from this process: %s\n", strerror(-err));
	return err;
}

static void
close_down(void)
{
	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++)
		if (control.slots[slot].session != NULL)
			end_session(slot);
	set_parked(false);
	if (control.path[0] != '\0')
		unlink(control.path);
	control.path[0] = '\0';
	close_descriptor(&control.listening);
	take_hooks_out();
}

static void *
control_main(void *arg)
{
	int err;

	(void)arg;
	if (wait_for_eal()) {
		err = open_for_business();
		if (err == 0) {
			set_state(READY, 0);
			serve();
		} else {
			set_state(FAILED, err);
		}
		close_down();
	}
	return NULL;
}

static int
start_thread(void)
{
	sigset_t all, before;
	int err;

	/* The application's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&control.thread, NULL, control_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err == 0)
		pthread_setname_np(control.thread, "dpcap");
	return err;
}

int
control_start(void)
{
	int err = 0;

	pthread_mutex_lock(&control.lock);
	if (control.state != STOPPED)
		goto out;
	atomic_store(&control.stop, false);
	atomic_store(&control.epoll, epoll_create1(EPOLL_CLOEXEC));
	atomic_store(&control.wake, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (atomic_load(&control.epoll) < 0 || atomic_load(&control.wake) < 0)
		err = -errno;
	else
		err = watch(EPOLL_CTL_ADD, atomic_load(&control.wake), EPOLLIN, EVENT_WAKE);
	control.pid = getpid();
	control.state = STARTING;
	if (err == 0)
		err = start_thread();
	if (err != 0) {
		close_descriptor(&control.epoll);
		close_descriptor(&control.wake);
		control.state = STOPPED;
	}
out:
	pthread_mutex_unlock(&control.lock);
	return err;
}

int
control_wait_ready(void)
{
	int err;

	pthread_mutex_lock(&control.lock);
	while (control.state == STARTING)
		pthread_cond_wait(&control.changed, &control.lock);
	err = control.state == READY ? 0 : control.state == FAILED ? control.error : -ESRCH;
	pthread_mutex_unlock(&control.lock);
	return err;
}

void
control_stop(void)
{
	pthread_t thread;
	bool running;

	pthread_mutex_lock(&control.lock);
	running = control.state != STOPPED;
	thread = control.thread;
	pthread_mutex_unlock(&control.lock);
	if (!running)
		return;
	atomic_store(&control.stop, true);
	wake_up(NULL);
	pthread_join(thread, NULL);
	close_descriptor(&control.epoll);
	close_descriptor(&control.wake);
	set_state(STOPPED, 0);
}

void
control_unlink(void)
{
	if (control.pid == getpid() && control.path[0] != '\0')
		unlink(control.path);
}

void
control_abandon_after_fork(void)
{
	for (unsigned int slot = 0; slot < MAX_SESSIONS; slot++) {
		close_descriptor(&control.slots[slot].fd);
		control.slots[slot].session = NULL;
	}
	close_descriptor(&control.listening);
	close_descriptor(&control.wake);
	close_descriptor(&control.epoll);
	control.path[0] = '\0';
	set_parked(false);
	/* The thread was not inherited; the lock may have been, in any state. */
	pthread_mutex_init(&control.lock, NULL);
	pthread_cond_init(&control.changed, NULL);
	control.state = STOPPED;
}
