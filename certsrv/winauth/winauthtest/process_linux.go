package winauthtest

import "syscall"

// tied makes a process end when the thread that started it ends, which is at the latest when the test is killed. It has
// a process group of its own, since Apache ends its whole group when it is asked to end.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
