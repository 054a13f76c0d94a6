"""Which system calls go together, by name; what becomes of each group is decided in `syscalls`.

It never mentions a number, for those differ between machines.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Libraries try these first and take another way where a kernel lacks them. `clone3` holds its flags in memory, where no
# filter can look; the C library falls back to `clone`, whose flags are checked.
ABSENT = _names("""
clone3 io_uring_setup io_uring_enter io_uring_register userfaultfd memfd_secret add_key request_key keyctl
""")

# New namespaces, mounts, other processes' insides, the kernel's own settings and its rarely walked corners.
REFUSED = _names("""
unshare setns mount umount2 pivot_root chroot open_tree open_tree_attr move_mount mount_setattr fsopen fsconfig fsmount
fspick statmount listmount name_to_handle_at open_by_handle_at fanotify_init fanotify_mark quotactl quotactl_fd
ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd move_pages migrate_pages
bpf perf_event_open init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load
kexec_file_load reboot swapon swapoff acct syslog settimeofday clock_settime adjtimex clock_adjtime sethostname
setdomainname vhangup iopl ioperm modify_ldt lookup_dcookie uselib ustat sysfs _sysctl nfsservctl lsm_set_self_attr
getpmsg putpmsg afs_syscall tuxcall security vserver
""")

# Memory of these belongs to no process's address space, so only a cgroup counts it.
UNCOUNTED = _names("memfd_create")
# As above, and they outlive the process; only an ipc namespace of the call's own takes them along.
SHARED_MEMORY = _names("""
shmget shmat shmctl shmdt msgget msgsnd msgrcv msgctl semget semop semtimedop semctl
mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
""")

# Ways out of the process group by which a call is found and ended.
KEPT_TOGETHER = _names("setsid setpgid")
# Their first argument names a process; 0 is the caller.
OF_ITSELF_ONLY = _names("sched_setaffinity sched_setparam sched_setscheduler sched_setattr")

# All that an interpreter, a shell and ordinary programs need. What also has a rule elsewhere keeps it.
STRICT = _names("""
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range
lseek stat fstat lstat newfstatat statx access faccessat faccessat2 statfs fstatfs getdents getdents64 getcwd chdir
fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat symlink symlinkat readlink readlinkat
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes utimensat futimesat mknod mknodat
truncate ftruncate fallocate fadvise64 readahead sync_file_range copy_file_range sendfile splice tee fsync fdatasync
sync syncfs flock fcntl ioctl dup dup2 dup3 pipe pipe2 getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch
inotify_rm_watch cachestat file_getattr
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
mmap munmap mremap mprotect madvise msync mincore brk mlock mlock2 munlock membarrier pkey_mprotect pkey_alloc pkey_free
mseal map_shadow_stack memfd_create shmget shmat shmctl shmdt semget semop semtimedop semctl
fork vfork clone execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal prctl
arch_prctl personality set_tid_address set_robust_list get_robust_list rseq futex futex_wait futex_wake futex_requeue
futex_waitv sched_yield restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait
rt_sigsuspend rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack pause alarm getitimer setitimer timer_create timer_settime
timer_gettime timer_getoverrun timer_delete nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
getpid getppid gettid getpgid getpgrp getsid setsid setpgid getuid geteuid getgid getegid getresuid getresgid getgroups
setuid setgid setreuid setregid setresuid setresgid setgroups capget getrlimit setrlimit prlimit64 getrusage getpriority
setpriority sched_getaffinity sched_setaffinity sched_getscheduler sched_getparam sched_getattr sched_get_priority_max
sched_get_priority_min sched_rr_get_interval getcpu get_mempolicy set_mempolicy mbind sysinfo uname getrandom
socket socketpair connect bind listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown sendto
sendmsg sendmmsg recvfrom recvmsg recvmmsg
""")
