package cluster

// Problem is a failure that an administrator can act on.
type Problem struct {
	ErrCode string // one of the constants that begin with Code
	Detail  string // what failed, on which object
	Fix     string // what to do
	Err     error  // cause, may be nil
}

// The codes of a Problem.
const (
	CodeDescription  = "cluster.bad-description"   // a description cannot be read, or does not hold together
	CodeNone         = "cluster.none-configured"   // no cluster in the configuration
	CodeUnknown      = "cluster.unknown-cluster"   // no cluster of this name, or the name is missing and there are several
	CodeNode         = "cluster.unknown-node"      // no node of this name
	CodePurpose      = "cluster.unknown-purpose"   // no purpose or store of this name
	CodeNotHere      = "cluster.not-on-node"       // the purpose or store is not on this node
	CodeNoCSR        = "cluster.no-csr"            // this purpose is always self-signed
	CodeNotMulti     = "cluster.not-multi-server"  // this purpose has one certificate for each node
	CodeField        = "cluster.bad-request-field" // a field of a request cannot be as it is
	CodeNoRequest    = "cluster.no-request"        // no request waits
	CodeNoCert       = "cluster.no-certificate"    // there is no such certificate
	CodeAmbiguous    = "cluster.ambiguous-name"    // a name that several certificates have
	CodeOwn          = "cluster.own-certificate"   // made by the system, and in service: not to be deleted
	CodeInUse        = "cluster.certificate-in-use"
	CodeChanged      = "cluster.changed" // somebody else changed the cluster at the same time
	CodeKeysMismatch = "cluster.keys-damaged"
)

// Error implements error.
func (p *Problem) Error() string {
	if p.Err != nil {
		return p.Detail + ": " + p.Err.Error()
	}
	return p.Detail
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }
