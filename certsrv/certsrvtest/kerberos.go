package certsrvtest

import (
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// maxSkew is Kerberos's usual bound of what two clocks may differ.
const maxSkew = 5 * time.Minute

// kerberosError is a refused ticket with what IIS logs for it. Times and malformed tokens have codes of their own; which of
// the others Windows maps to what is uncertain.
type kerberosError struct {
	win32 uint32
	text  string
}

func (e *kerberosError) Error() string { return e.text }

func kerberosStatus(err error) uint32 {
	if k, ok := errors.AsType[*kerberosError](err); ok {
		return k.win32
	}
	return secInvalidToken
}

// kerberosLogin is an accepted ticket.
type kerberosLogin struct {
	name, realm string
	reply       []byte // GSS token with the AP-REP for clients that want the server to prove itself; nil: none
	binding     sentBinding
}

// acceptor accepts Kerberos tickets by a keytab. Tickets and messages are the library's; what a service must check of them
// is here, since the library does it by this machine's clock and with one replay cache for the whole process.
type acceptor struct {
	keys *keytab.Keytab
	read func([]byte) error // randomness

	mu   sync.Mutex
	seen map[string]time.Time // authenticators, and until when they are remembered
}

func newAcceptor(file []byte, read func([]byte) error) (*acceptor, error) {
	keys := keytab.New()
	if err := keys.Unmarshal(file); err != nil {
		return nil, fmt.Errorf("keytab: %w", err)
	}
	if len(keys.Entries) == 0 {
		return nil, errors.New("keytab: no key in it")
	}
	return &acceptor{keys: keys, read: read, seen: map[string]time.Time{}}, nil
}

// realm is that of the keytab's first key.
func (a *acceptor) realm() string { return a.keys.Entries[0].Principal.Realm }

// minCipher is shorter than any ticket or authenticator; the library cuts checksums off without looking.
const minCipher = 64

// accept judges a client's GSS token: an AP-REQ (RFC 4121 section 4.1).
func (a *acceptor) accept(token []byte, now time.Time) (*kerberosLogin, error) {
	mech, inner, err := gssToken(token)
	if err != nil || !mech.Equal(oidKRB5) && !mech.Equal(oidMSKRB5) || len(inner) < 2 || inner[0] != 1 || inner[1] != 0 {
		return nil, &kerberosError{secInvalidToken, "no AP-REQ in a GSS token"}
	}
	var req messages.APReq
	if err := req.Unmarshal(inner[2:]); err != nil {
		return nil, &kerberosError{secInvalidToken, "malformed AP-REQ"}
	}
	if len(req.Ticket.SName.NameString) == 0 || len(req.Ticket.EncPart.Cipher) < minCipher || len(req.EncryptedAuthenticator.Cipher) < minCipher {
		return nil, &kerberosError{secInvalidToken, "AP-REQ without a ticket"}
	}
	if err := req.Ticket.DecryptEncPart(a.keys, nil); err != nil {
		return nil, &kerberosError{secLogonDenied, "ticket for another service, or of another key version"}
	}
	session := req.Ticket.DecryptedEncPart.Key
	if err := req.DecryptAuthenticator(session); err != nil {
		return nil, &kerberosError{secLogonDenied, "authenticator does not decrypt"}
	}
	if err := a.judge(&req, now); err != nil {
		return nil, err
	}
	auth := &req.Authenticator
	l := &kerberosLogin{name: auth.CName.PrincipalNameString(), realm: auth.CRealm}
	mutual := types.IsFlagSet(&req.APOptions, flags.APOptionMutualRequired)
	l.binding, mutual = checksumOf(auth, mutual)
	if mutual {
		if l.reply, err = a.prove(auth, session); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// judge checks names, times and that the authenticator is new (RFC 4120 section 3.2.3).
func (a *acceptor) judge(req *messages.APReq, now time.Time) error {
	ticket, auth := &req.Ticket.DecryptedEncPart, &req.Authenticator
	if len(auth.CName.NameString) == 0 || !auth.CName.Equal(ticket.CName) || auth.CRealm != ticket.CRealm {
		return &kerberosError{secLogonDenied, "authenticator and ticket name different clients"}
	}
	starts := ticket.StartTime
	if starts.IsZero() {
		starts = ticket.AuthTime
	}
	at := auth.CTime.Add(time.Duration(auth.Cusec) * time.Microsecond)
	switch {
	case starts.Sub(now) > maxSkew || types.IsFlagSet(&ticket.Flags, flags.Invalid):
		return &kerberosError{secTimeSkew, "ticket is not valid yet"}
	case now.Sub(ticket.EndTime) > maxSkew:
		return &kerberosError{secContextExpired, "ticket has expired"}
	case now.Sub(at) > maxSkew || at.Sub(now) > maxSkew:
		return &kerberosError{secTimeSkew, "clocks differ by more than 5 minutes"}
	}
	id := strings.Join([]string{auth.CRealm, auth.CName.PrincipalNameString(), at.UTC().Format(time.RFC3339Nano), string(req.EncryptedAuthenticator.Cipher)}, "\x00")
	a.mu.Lock()
	defer a.mu.Unlock()
	for old, until := range a.seen {
		if now.After(until) {
			delete(a.seen, old)
		}
	}
	if _, again := a.seen[id]; again {
		return &kerberosError{secLogonDenied, "authenticator was sent before"}
	}
	a.seen[id] = at.Add(maxSkew)
	return nil
}

// checksumGSS is the type of RFC 4121's checksum, which is none: it carries the binding and flags.
const checksumGSS = 0x8003

// checksumOf reads channel binding and GSS_C_MUTUAL_FLAG from an authenticator. Sixteen zero octets are what a client
// without bindings writes (RFC 4121 section 4.1.1), unless it says that it knows bindings.
func checksumOf(auth *types.Authenticator, mutual bool) (sentBinding, bool) {
	sum := auth.Cksum.Checksum
	if auth.Cksum.CksumType != checksumGSS || len(sum) < 24 || binary.LittleEndian.Uint32(sum) != 16 {
		return sentBinding{}, mutual
	}
	value := sum[4:20]
	there := string(value) != string(make([]byte, 16)) || knowsBindings(auth.AuthorizationData)
	return sentBinding{value: value, there: there}, mutual || sum[20]&2 != 0
}

// Authorization data by which a client says that its zero binding is none (MS-KILE: KERB_AP_OPTIONS_CBT).
const (
	adIfRelevant     = 1
	adAPOptions      = 143
	apOptionBindings = 0x4000
)

func knowsBindings(data types.AuthorizationData) bool {
	for _, d := range data {
		var inner types.AuthorizationData
		switch {
		case isBindingsOption(d):
			return true
		case d.ADType == adIfRelevant && inner.Unmarshal(d.ADData) == nil && slices.ContainsFunc(inner, isBindingsOption):
			return true
		}
	}
	return false
}

func isBindingsOption(d types.AuthorizationDataEntry) bool {
	return d.ADType == adAPOptions && len(d.ADData) == 4 && binary.LittleEndian.Uint32(d.ADData)&apOptionBindings != 0
}

// prove makes the AP-REP by which the server shows that it could read the ticket (RFC 4120 section 5.5.2). The library reads
// such messages and writes none.
func (a *acceptor) prove(auth *types.Authenticator, session types.EncryptionKey) ([]byte, error) {
	var random [4]byte
	if err := a.read(random[:]); err != nil {
		return nil, err
	}
	part, err := asn1.MarshalWithParams(struct {
		CTime time.Time `asn1:"generalized,explicit,tag:0"`
		Cusec int       `asn1:"explicit,tag:1"`
		Seq   int64     `asn1:"explicit,tag:3"`
	}{auth.CTime.UTC(), auth.Cusec, int64(binary.BigEndian.Uint32(random[:]) & 0x3FFFFFFF)}, "application,explicit,tag:27")
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(part, session, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		return nil, err
	}
	rep, err := asn1.MarshalWithParams(struct {
		PVNO    int `asn1:"explicit,tag:0"`
		MsgType int `asn1:"explicit,tag:1"`
		EncPart struct {
			EType  int32  `asn1:"explicit,tag:0"`
			Cipher []byte `asn1:"explicit,tag:2"`
		} `asn1:"explicit,tag:2"`
	}{5, 15, struct {
		EType  int32  `asn1:"explicit,tag:0"`
		Cipher []byte `asn1:"explicit,tag:2"`
	}{sealed.EType, sealed.Cipher}}, "application,explicit,tag:15")
	if err != nil {
		return nil, err
	}
	return wrapGSS(oidKRB5, append([]byte{2, 0}, rep...)), nil
}

// ofPrincipal maps user@REALM to `DOMAIN\user`. The keytab's realm, the domain's DNS name and its NetBIOS name are the
// server's own domain; of another realm the first label counts. A principal need not be in Config.Users: the KDC vouches
// for it.
func (s *Server) ofPrincipal(name, realm string) (string, AccountState) {
	domain := s.cfg.Domain
	if realm != s.kerberos.realm() && !strings.EqualFold(realm, s.cfg.DNSDomain) && !strings.EqualFold(realm, domain) {
		domain, _, _ = strings.Cut(strings.ToUpper(realm), ".")
	}
	if u := s.findUser(domain, name); u != nil {
		return s.canonical(u), u.State
	}
	return domain + `\` + name, AccountOK
}
