package app

// Problem is a failure of starting or checking that an administrator can act on.
type Problem struct {
	ErrCode string // "app.listen"
	Detail  string
	Fix     string
	Err     error // cause, may be nil; its text is part of Detail
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }
