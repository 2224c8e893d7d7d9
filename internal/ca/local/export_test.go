package local

import "time"

// Steps are the changes that Apply makes, one file each, without the copies of what is replaced.
func (i *Installation) Steps() []func() error { return i.steps(time.Now()) }
