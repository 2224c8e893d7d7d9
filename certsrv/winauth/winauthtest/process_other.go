//go:build !linux

package winauthtest

import "syscall"

// tied does nothing here: the peers are packages of Debian.
func tied() *syscall.SysProcAttr { return nil }
