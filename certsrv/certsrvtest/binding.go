package certsrvtest

import (
	"crypto/subtle"
	"log/slog"

	"callsign/certsrv/winauth"
)

// sentBinding is what a login says about the TLS channel.
type sentBinding struct {
	value []byte // 16 octets (RFC 4121 section 4.1.1.2, MS-NLMP MsvAvChannelBindings)
	there bool   // false: it says nothing
}

// bound tells whether a login may pass as far as Extended Protection goes. What IIS writes to its log for one that may not
// is uncertain: 2148074310 (SEC_E_BAD_BINDINGS), as here, or 2148074252 (SEC_E_LOGON_DENIED).
func (a *attempt) bound(sent sentBinding) bool {
	epa := a.s.epa(a.conditions)
	if epa == EPAOff || a.r.TLS == nil {
		return true
	}
	if a.conn.cert == nil {
		if sent.there {
			a.s.log.Error("channel binding cannot be checked: the server runs without Serve or HTTPServer", slog.String("peer", a.r.RemoteAddr))
		}
		return !sent.there && epa == EPAAccept
	}
	want, err := winauth.ChannelBinding(a.conn.cert)
	switch {
	case err != nil:
		return true // none is defined for this certificate: no client can send one
	case !sent.there:
		return epa == EPAAccept
	}
	return subtle.ConstantTimeCompare(want[:], sent.value) == 1
}
