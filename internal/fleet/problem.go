package fleet

// Problem is a failure that an administrator can act on.
type Problem struct {
	ErrCode string // "fleet.unknown-device"
	Detail  string
	Fix     string
}

func problem(code, detail, fix string) *Problem {
	return &Problem{ErrCode: code, Detail: detail, Fix: fix}
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }
