package est

import (
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"slices"
)

// Trust is how a client judges a server by its certificate (RFC 7030 section 3.6). Explicit anchors, configured or from an earlier
// cacerts, and implicit ones, those of the web, are kept apart: a nil function means that there are none. Each judges what a
// server presents by its anchors, and for host; an empty host means that name and usage do not count.
type Trust struct {
	Explicit, Implicit func(state tls.ConnectionState, host string) error
}

// oidCMCRA is the extended key usage of a registration authority (RFC 6402 section 2.10).
var oidCMCRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// VerifyConnection returns what goes into tls.Config.VerifyConnection. With explicit anchors a server is authorised by its name,
// or by the extended key usage id-kp-cmcRA in place of it (RFC 7030 section 3.6.1); with implicit ones by its name alone (section
// 3.6.2). The error is that of the explicit anchors if there are any.
func (t Trust) VerifyConnection(host string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		err := errors.New("there is no trust anchor to judge the server by")
		if t.Explicit != nil {
			if err = t.Explicit(state, host); err == nil {
				return nil
			}
			if len(state.PeerCertificates) > 0 && slices.ContainsFunc(state.PeerCertificates[0].UnknownExtKeyUsage, oidCMCRA.Equal) &&
				t.Explicit(state, "") == nil {
				return nil
			}
		}
		if t.Implicit == nil {
			return err
		}
		other := t.Implicit(state, host)
		if other == nil || t.Explicit == nil {
			return other
		}
		return err
	}
}
