package enterprise

// The stable codes of a Problem.
const (
	CodeBehaviour = "enterprise.behaviour" // a word that nobody knows, or words that exclude each other
	CodeDirectory = "enterprise.directory" // the directory is something else's, or cannot be used
	CodeListen    = "enterprise.listen"    // the address cannot be listened on
	CodeKeytab    = "enterprise.keytab"    // a keytab that cannot be read
	CodeTemplate  = "enterprise.bad-name"  // a template that cannot be
)

// Problem is a failure that its user can act on.
type Problem struct {
	ErrCode string // one of the Code constants
	Detail  string // what is wrong, with names and values
	Fix     string // what to do
	Err     error  // cause, may be nil; Detail has its text
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }
