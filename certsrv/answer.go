package certsrv

import (
	"crypto/x509"
	"fmt"
)

// Answer is the CA's word about a request.
type Answer struct {
	Outcome     Outcome
	RequestID   string            // decimal; empty when the page does not tell and nobody asked by id
	Certificate *x509.Certificate // when Issued, by Fetch and Enroll; nil after Submit
	Disposition Disposition       // NoDisposition when the page shows none
	HResult     HResult           // the reason of a denial or error, 0 when the page shows none
	Message     string            // the CA's disposition message, in the CA's language; may be empty
	StatusText  string            // the text beside HResult, in the CA's language; may be empty
}

// Problem returns why there is no certificate, nil when the outcome is Issued or Pending.
func (a Answer) Problem() *Problem {
	if a.Outcome != Denied && a.Outcome != Failed {
		return nil
	}
	s, known := LookupHResult(a.HResult)
	p := &Problem{ErrCode: CodeFailed, HResult: a.HResult, Retryable: s.Retryable, Fix: s.Remedy}
	switch {
	case a.Outcome == Denied:
		p.ErrCode, p.Detail = CodeDenied, "the CA denied request "+a.number()
	case a.Disposition == DispositionRevoked:
		p.ErrCode, p.Detail = CodeRevoked, "the certificate of request "+a.number()+" is revoked"
		p.Fix = "submit a new request"
	case a.HResult == StatusPropertyEmpty || a.HResult == StatusNoRequest:
		p.ErrCode, p.Detail = CodeUnknownRequest, "the CA has no request "+a.number()
	case a.HResult == StatusRPCUnavailable, a.HResult == StatusRPCCallFailed:
		p.ErrCode, p.Detail = CodeCAUnavailable, "the web server does not reach the CA"
	default:
		p.Detail = "the CA reports an error for request " + a.number()
	}
	switch {
	case a.HResult == 0:
		p.Fix = "read the reason of request " + a.number() + " in the CA console (Failed Requests) or with `certutil -view`"
	case known:
		p.Detail += fmt.Sprintf(": %s (%s %s)", s.Meaning, a.HResult, s.Name)
	default:
		p.Detail += fmt.Sprintf(": %s (%s)", s.Meaning, a.HResult)
	}
	for _, words := range []string{a.Message, a.StatusText} {
		if words != "" {
			p.Detail += fmt.Sprintf("; the CA says: %q", words)
		}
	}
	return p
}

func (a Answer) number() string {
	if a.RequestID == "" {
		return "(no id)"
	}
	return a.RequestID
}
