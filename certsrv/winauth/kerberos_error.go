package winauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
)

// explain turns a failure to get an answer from a KDC, or its refusal, into an Error. service is what a ticket was asked
// for, empty in a logon.
func (k *Kerberos) explain(err error, kdc, service string) *Error {
	if refused, ok := errors.AsType[*kdcError](err); ok {
		return k.refusal(refused, kdc, service)
	}
	e := &Error{Kind: KindKDC, Phase: PhaseLogin, User: k.user.String(), KDC: kdc, Err: err}
	var u *unreachable
	switch {
	case errors.Is(err, context.Canceled):
		e.Kind = KindCanceled
	case !errors.As(err, &u):
		e.Kind = KindProtocol
	case len(u.tried) == 0:
		e.fix = fmt.Sprintf("name the domain controllers of %s as KDCs, or have DNS answer for _kerberos._tcp.%s; a realm is the DNS name of an Active Directory domain in capital letters, not a UPN suffix", u.realm, u.realm)
	default:
		e.fix = fmt.Sprintf("check that %s are domain controllers of %s, and that a firewall lets TCP port 88 through", strings.Join(u.tried, ", "), u.realm)
	}
	return e
}

// refusal explains a KRB-ERROR of a KDC (RFC 4120 section 7.5.9).
func (k *Kerberos) refusal(r *kdcError, kdc, service string) *Error {
	e := &Error{Kind: KindKDCRefused, Phase: PhaseLogin, User: k.user.String(), KDC: kdc, Err: errors.New(r.text())}
	switch r.ErrorCode {
	case errorcode.KDC_ERR_PREAUTH_FAILED, errorcode.KRB_AP_ERR_BAD_INTEGRITY:
		if service == "" {
			return k.wrongSecret(kdc, e.Err)
		}
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN:
		e.Kind = KindUnknownUser
	case errorcode.KDC_ERR_CLIENT_REVOKED, errorcode.KDC_ERR_NAME_EXP, errorcode.KDC_ERR_CLIENT_NOTYET, errorcode.KDC_ERR_POLICY:
		e.Kind = KindAccountUnusable
	case errorcode.KDC_ERR_KEY_EXPIRED:
		e.Kind = KindPasswordExpired
	case errorcode.KRB_AP_ERR_SKEW, errorcode.KRB_AP_ERR_TKT_NYV:
		return k.skewed(kdc, "KDC "+kdc, r.STime, time.Now())
	case errorcode.KDC_ERR_ETYPE_NOSUPP:
		e.Kind = KindNoEncryption
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_WRONG_REALM, errorcode.KDC_ERR_PRINCIPAL_NOT_UNIQUE:
		if service == "" {
			e.Kind = KindUnknownUser
			e.fix = fmt.Sprintf("check the realm %s: it is the DNS name of the Active Directory domain in capital letters, and %s has to be one of its domain controllers", k.user.realm, kdc)
			break
		}
		e.Kind, e.SPN = KindUnknownService, service
	}
	return e
}

// asRefusal reads a KRB-ERROR; false when b is something else.
func asRefusal(b []byte) (*kdcError, bool) {
	var e kdcError
	err := e.Unmarshal(b)
	return &e, err == nil
}

// text is the error in the KDC's words, with its number.
func (r *kdcError) text() string {
	s := errorcode.Lookup(r.ErrorCode)
	if r.EText != "" {
		s += ": " + printable(r.EText)
	}
	return s
}

// printable makes a peer's words fit for a line, at most 200 characters.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if isControl(c) || c >= 0x80 && c < 0xa0 || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}

// wrongSecret is the error for a password or key that the KDC does not accept.
func (k *Kerberos) wrongSecret(kdc string, err error) *Error {
	e := &Error{Kind: KindWrongPassword, Phase: PhaseLogin, User: k.user.String(), KDC: kdc, Err: err}
	if !k.c.Keytab.IsZero() {
		e.Err = fmt.Errorf("key version %v of the keytab is not the account's: %w", k.c.Keytab.versions(k.user), err)
		e.fix = fmt.Sprintf("export a new keytab for %s: every change of the account's password, also by ktpass itself, makes the old one useless", k.user)
	}
	return e
}

// skewed is the error for a clock that is too far from ours.
func (k *Kerberos) skewed(kdc, whose string, theirs, ours time.Time) *Error {
	return &Error{Kind: KindClockSkew, Phase: PhaseLogin, User: k.user.String(), KDC: kdc, Err: skew(whose, theirs, ours)}
}

// skew says how far two clocks are apart.
func skew(whose string, theirs, ours time.Time) error {
	d, way := theirs.Sub(ours).Round(time.Second), "ahead of"
	if d < 0 {
		d, way = -d, "behind"
	}
	return fmt.Errorf("the clock of %s is %s %s ours: it says %s, ours %s", whose, d, way,
		theirs.UTC().Format(time.RFC3339), ours.UTC().Format(time.RFC3339))
}

// broken is the error for an answer that makes no sense.
func (k *Kerberos) broken(kdc string, err error) *Error {
	return &Error{Kind: KindKDCRefused, Phase: PhaseLogin, User: k.user.String(), KDC: kdc, Err: err}
}

// ended is the error for a context that is over.
func (k *Kerberos) ended(ctx context.Context, start time.Time, kdc string, err error) *Error {
	e := &Error{Kind: KindTimeout, Phase: PhaseLogin, User: k.user.String(), KDC: kdc, Elapsed: time.Since(start), Err: err}
	if errors.Is(ctx.Err(), context.Canceled) {
		e.Kind = KindCanceled
	}
	return e
}

// encryptionName names an encryption type as Windows and MIT do.
func encryptionName(id int32) string {
	switch id {
	case etypeID.AES256_CTS_HMAC_SHA1_96:
		return "AES256-SHA1"
	case etypeID.AES128_CTS_HMAC_SHA1_96:
		return "AES128-SHA1"
	case etypeID.AES256_CTS_HMAC_SHA384_192:
		return "AES256-SHA384"
	case etypeID.AES128_CTS_HMAC_SHA256_128:
		return "AES128-SHA256"
	case etypeID.RC4_HMAC:
		return "RC4-HMAC"
	}
	return fmt.Sprintf("type %d", id)
}

func encryptionNames(ids []int32) string {
	var out []string
	for _, id := range ids {
		out = append(out, encryptionName(id))
	}
	return strings.Join(out, ", ")
}
