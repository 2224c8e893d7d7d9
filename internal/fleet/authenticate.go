package fleet

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"callsign/capf"
	"callsign/chain"
)

// errAuthentic ends the judging of a string without a change to the record: the string is right.
var errAuthentic = errors.New("the authentication string is right")

// authenticate judges what the phone shows, by the mode of its record.
func (s *Service) authenticate(ctx context.Context, c capf.Caller, d *Device, t *story) error {
	switch d.Auth {
	case AuthNull:
		t.step(StepAuthenticate, "", "null string")
		return nil
	case AuthString:
		return s.byString(ctx, c, d, t)
	case AuthLSC, AuthMIC:
		return s.byCertificate(ctx, c, d, t)
	default:
		return fmt.Errorf("%s has the authentication mode %q, which nobody knows", d.Name, d.Auth)
	}
}

// byString judges the phone's string and counts a wrong one. Judging and counting are one transaction: however many
// calls come at once, no more strings are judged than the limit allows.
func (s *Service) byString(ctx context.Context, c capf.Caller, d *Device, t *story) error {
	if len(c.String) > 0 {
		t.a.Credential = CredentialString
	}
	var p *Problem
	attempt := &Attempt{} // filled with the verdict
	_, err := s.Store.FinishDevice(ctx, d.Name, Finish{Attempt: attempt}, func(now *Device) error {
		p = nil
		switch {
		case !sameOperation(now, d) || now.Auth != d.Auth:
			return errSuperseded
		case now.WrongTries >= s.wrongLimit():
			p = locked(now, c)
			*attempt = *t.fail(StepAuthenticate, capf.ResultInvalidAuthString, s.noteOf(p))
			return nil
		case sameString(now.AuthString, c.String):
			return errAuthentic
		}
		now.WrongTries++
		now.Result, now.HasResult = capf.ResultInvalidAuthString, true
		p = problem("fleet.wrong-string", fmt.Sprintf("wrong authentication string for %s from %s, attempt %d of %d", now.Name, c.Peer, now.WrongTries, s.wrongLimit()),
			"type the string again on the phone, or set a new one with: callsign phone set "+now.Name+" --auth-string-file FILE")
		if now.WrongTries >= s.wrongLimit() {
			p = locked(now, c)
			now.Status = finalStatus(now.Operation, false)
		}
		now.Note = s.noteOf(p)
		*attempt = *t.fail(StepAuthenticate, capf.ResultInvalidAuthString, now.Note)
		return nil
	})
	switch {
	case errors.Is(err, errAuthentic):
		t.step(StepAuthenticate, "", "string")
		return nil
	case errors.Is(err, errSuperseded):
		return s.refuse(ctx, d.Name, capf.ReasonInvalidElement, capf.ResultFail, changedMeanwhile(d.Name))
	case err != nil:
		return fmt.Errorf("judge the authentication string of %s: %w", d.Name, err)
	default:
		return s.refuse(ctx, d.Name, capf.ReasonInvalidElement, capf.ResultInvalidAuthString, p)
	}
}

// sameString compares in constant time, whatever the lengths. A phone without a string on record is never authentic.
func sameString(want, got capf.Secret) bool {
	a, b := sha256.Sum256(want), sha256.Sum256(got)
	return len(want) > 0 && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func locked(d *Device, c capf.Caller) *Problem {
	return problem("fleet.locked", fmt.Sprintf("%s is locked after %d wrong authentication strings, the last one from %s", d.Name, d.WrongTries, c.Peer),
		fmt.Sprintf("find out who tried, then run: callsign phone set %s --operation %s --auth-string-file FILE", d.Name, d.Operation))
}

// byCertificate judges the certificate that the phone shows. A refusal leaves the operation due: the phone may show a
// better one at its next call. There is no lock, for a key cannot be guessed.
func (s *Service) byCertificate(ctx context.Context, c capf.Caller, d *Device, t *story) error {
	j, err := s.judges(ctx)
	if err != nil {
		return err
	}
	e := examination{s: s, c: c, d: d, judges: j, kind: CredentialNone}
	p := e.run()
	t.a.Credential, t.a.Serial = e.kind, e.serial
	if p == nil {
		if p, err = e.issuedToPhone(ctx); err != nil {
			return err
		}
	}
	if p != nil {
		return s.turnAway(ctx, t, d, turning{step: StepAuthenticate, result: e.result(), problem: p, noteResult: true})
	}
	t.step(StepAuthenticate, "", e.detail)
	return nil
}

// examination is the judging of one phone's certificates (spec: CAPF section 6).
type examination struct {
	s      *Service
	c      capf.Caller
	d      *Device
	judges *judges
	kind   string // of the certificate shown
	sudi   string // of the certificate of the SUDI data when that is what is refused; empty: it is not
	serial string
	detail string              // what was accepted
	lscs   []*x509.Certificate // accepted as LSCs: the one shown, that of the SUDI data
}

// result is the result code of a refusal: by the kind of the certificate at fault, and where that is not known by what
// the mode asks for first.
func (e *examination) result() capf.Result {
	kind := e.kind
	if e.sudi != "" {
		kind = e.sudi
	}
	if kind == CredentialMIC || kind == CredentialNone && e.d.Auth == AuthMIC {
		return capf.ResultInvalidMIC
	}
	return capf.ResultInvalidLSC
}

// anotherMode is the way out that is always there. The string comes first: what looks like a broken certificate may be an
// attack, which no proof at all would let in.
func (e *examination) anotherMode() string {
	return "let the phone authenticate by a string that its user types (callsign phone strings " + e.d.Name +
		" --generate --output FILE), or on a network that you trust by the null string (callsign phone set " + e.d.Name + " --auth null)"
}

// run returns what is wrong; nil when the phone is authentic.
func (e *examination) run() *Problem {
	name := e.d.Name
	if e.c.Credential == nil || len(e.c.Credential.Certificate) == 0 {
		return problem("fleet.credential-missing", fmt.Sprintf("%s is to authenticate by certificate and showed none", name),
			"the phone has no certificate to show, or its configuration has another capfAuthMode; "+e.anotherMode())
	}
	x, err := e.c.Credential.ParseCertificate()
	if err != nil {
		return problem("fleet.certificate-malformed", fmt.Sprintf("%s showed a certificate that cannot be read: %v", name, err), e.anotherMode())
	}
	e.serial = shownSerial(x)
	v := e.judges.judge(x, e.s.AllowSHA1Auth)
	e.kind = v.kind
	if p := e.trusted(x, v, ""); p != nil {
		return p
	}
	if err := e.c.Credential.VerifySignatures(e.c.Device, e.s.AllowSHA1Auth); err != nil {
		return e.unsigned(err)
	}
	if !namesDevice(e.kind, x, name) {
		return problem("fleet.certificate-of-another-device", fmt.Sprintf("%s at %s showed the %s of another device: %s", name, e.c.Peer, label(e.kind), short(x.Subject.String())),
			"find out what calls from this address under a name that is not its own; if the phone is genuine and its certificate is not, "+e.anotherMode())
	}
	if p := e.wanted(); p != nil {
		return p
	}
	if e.kind == CredentialLSC {
		e.lscs = append(e.lscs, x)
	}
	e.detail = fmt.Sprintf("%s %s, serial %s", label(e.kind), short(x.Subject.String()), e.serial)
	return e.judgeSUDI()
}

// wanted holds the kind of the certificate against the precedence of the mode (spec: CAPF section 6.2). An LSC on record
// that has expired still keeps a MIC out: what happens then is for the policy of renewal to say, which sets the mode.
func (e *examination) wanted() *Problem {
	d := e.d
	switch {
	case d.Auth == AuthLSC && e.kind == CredentialMIC && d.LSC != nil && !e.s.MICBesideLSC:
		return problem("fleet.mic-not-wanted", fmt.Sprintf("%s showed its MIC although an LSC is on record for it (serial %s)", d.Name, d.LSC.Serial),
			"if the phone has lost its LSC (factory reset), run: callsign phone set "+d.Name+" --auth mic; or allow it for all phones with capf.mic_beside_lsc")
	case d.Auth == AuthMIC && e.kind == CredentialLSC && strings.HasPrefix(d.Name, "SEP") && !d.NoMIC:
		return problem("fleet.lsc-not-wanted", fmt.Sprintf("%s showed its LSC and is to authenticate by its MIC first", d.Name),
			"if the phone has no MIC that can be used, run: callsign phone set "+d.Name+" --auth lsc")
	}
	return nil
}

// The codes of what the room chain finds, in the certificate shown and in that of the SUDI data.
const (
	codeUntrusted   = "fleet.certificate-untrusted"
	codeExpired     = "fleet.certificate-expired"
	codeNotYetValid = "fleet.certificate-not-yet-valid"
	codeRefused     = "fleet.certificate-refused"

	codeSUDIUntrusted = "fleet.sudi-untrusted"
	codeSUDIRefused   = "fleet.sudi-refused"
)

// trusted says what keeps a certificate from being accepted, its names aside. of is empty for the certificate shown and
// "SUDI " for that of the SUDI data.
func (e *examination) trusted(x *x509.Certificate, v verdict, of string) *Problem {
	what := fmt.Sprintf("the %s%s of %s", of, label(v.kind), e.d.Name)
	either := func(codeShown, codeSUDI string) string {
		if of != "" {
			return codeSUDI
		}
		return codeShown
	}
	if v.distrusted != nil {
		return problem("fleet.issuer-distrusted", fmt.Sprintf("%s (%s) comes under %s, which is not trusted any more", what, short(x.Subject.String()), short(v.distrusted.Subject())),
			"if it is to count again, take its SHA-256, or that of a CA above it, out of capf.distrusted and start the server again; else "+e.anotherMode())
	}
	if len(v.faults) == 0 {
		return nil
	}
	f := &v.faults[0]
	detail := fmt.Sprintf("%s is not accepted: %s", what, f.Detail)
	switch f.Code {
	case chain.SelfSigned, chain.UnknownRoot, chain.UnknownIssuer, chain.IncompleteAnchor, chain.BadSignature:
		key := "capf.trust_files"
		switch {
		case v.kind == CredentialMIC || of != "" && v.kind == CredentialNone || v.kind == CredentialNone && e.d.Auth == AuthMIC:
			key = "capf.mic_files"
		case v.kind == CredentialNone:
			key = "capf.trust_files (for an LSC) or capf.mic_files (for a MIC)"
		}
		return problem(either(codeUntrusted, codeSUDIUntrusted), detail,
			fmt.Sprintf("if %s is a CA of yours or of the phone's maker, name the file with its certificate in %s and start the server again; else %s",
				short(x.Issuer.String()), key, e.anotherMode()))
	case chain.Expired:
		if f.Depth > 0 {
			return problem(either(codeExpired, codeSUDIRefused), detail, "the CA that issued it has expired, and a new certificate is needed: "+e.anotherMode())
		}
		return problem(either(codeExpired, codeSUDIRefused), detail, "check the clock of this machine; an expired certificate does not come back: "+e.anotherMode())
	case chain.NotYetValid:
		return problem(either(codeNotYetValid, codeSUDIRefused), detail, "check the clock of this machine (date -u) and that of the CA; the phone calls again by itself")
	case chain.WeakKey:
		return problem(either(codeRefused, codeSUDIRefused), detail, "allow old phones to authenticate with what they have (capf.allow_sha1_auth), or "+e.anotherMode())
	default:
		return problem(either(codeRefused, codeSUDIRefused), detail, f.Remedy+"; meanwhile "+e.anotherMode())
	}
}

// unsigned is what is said of signatures that are missing or do not verify.
func (e *examination) unsigned(err error) *Problem {
	name := e.d.Name
	detail := fmt.Sprintf("%s did not prove that it holds the key of the %s that it showed: %v", name, label(e.kind), err)
	var p *capf.ProtocolError
	if errors.As(err, &p) && p.Code() == capf.CodeSignatureMissing {
		return problem("fleet.signature-missing", detail,
			"update the phone's firmware; if it knows no better, allow SHA-1 for old phones with capf.allow_sha1_auth, or "+e.anotherMode())
	}
	return problem("fleet.signature-wrong", detail,
		fmt.Sprintf("find out what calls from %s: it shows a certificate and may not have its key; if the phone is genuine, %s", e.c.Peer, e.anotherMode()))
}

// judgeSUDI judges the SUDI data (spec: CAPF section 6.4).
func (e *examination) judgeSUDI() *Problem {
	name := e.d.Name
	e.sudi = CredentialMIC // until its certificate is known: a SUDI is the MIC of newer phones
	sudi, present, err := e.c.Credential.SUDI()
	switch {
	case err == nil && !present && e.s.RequireSUDI:
		e.sudi = "" // it is the certificate shown that does not suffice
		return problem("fleet.sudi-missing", fmt.Sprintf("%s sent no SUDI data, which capf.require_sudi asks for", name),
			"update the phone's firmware, set capf.require_sudi to false, or "+e.anotherMode())
	case err == nil && !present:
		e.sudi = ""
		return nil
	case err == nil:
		err = sudi.Verify(e.c.Session)
	}
	if err != nil {
		return problem("fleet.sudi-wrong", fmt.Sprintf("the SUDI data of %s proves nothing for this session: %v", name, err),
			fmt.Sprintf("find out what calls from %s: it may send again what it has read in an earlier session; if the phone is genuine, %s", e.c.Peer, e.anotherMode()))
	}
	x, err := sudi.ParseCertificate()
	if err != nil { // Verify has parsed it
		return problem("fleet.sudi-wrong", fmt.Sprintf("the SUDI data of %s cannot be read: %v", name, err), e.anotherMode())
	}
	v := e.judges.judge(x, e.s.AllowSHA1Auth)
	if v.kind == CredentialLSC {
		e.sudi = CredentialLSC
	}
	if p := e.trusted(x, v, "SUDI "); p != nil {
		return p
	}
	if !namesDevice(v.kind, x, name) {
		return problem("fleet.sudi-of-another-device", fmt.Sprintf("the SUDI data of %s at %s is made with the certificate of another device: %s", name, e.c.Peer, short(x.Subject.String())),
			"find out what calls from this address under a name that is not its own; if the phone is genuine, "+e.anotherMode())
	}
	if v.kind == CredentialLSC {
		e.lscs = append(e.lscs, x)
	}
	e.detail += fmt.Sprintf("; SUDI data with the %s", label(v.kind))
	e.sudi = ""
	return nil
}

// issuedToPhone refuses an LSC that the journal has for somebody else. The CA of the LSCs may sign for users of EST as well, who
// choose the names in what they ask for; so a name alone does not make a certificate a phone's. Certificates that the
// journal does not have are of former times or of another RA, and count.
func (e *examination) issuedToPhone(ctx context.Context) (*Problem, error) {
	name := e.d.Name
	for _, x := range e.lscs {
		owners, err := e.s.Store.CertificateOwners(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("look for the owner of the certificate of %s: %w", name, err)
		}
		if len(owners) == 0 || slices.Contains(owners, Owner(name)) || slices.ContainsFunc(owners, isVoucher) {
			continue
		}
		return problem("fleet.certificate-of-another-owner",
			fmt.Sprintf("%s at %s showed a certificate that was issued to %s and not to the phone: %s", name, e.c.Peer, short(owners[0]), short(x.Subject.String())),
			"find out who asks in that name for certificates of phones, and take the account out of est.users_file (or the CA out of est.client_ca_file) if it should not; "+
				"if the phone is genuine, "+e.anotherMode()), nil
	}
	return nil, nil //nolint:nilnil // no problem
}

// isVoucher reports whether the owner of an enrolment is a voucher of the RA: another CAPF, which has authenticated the phone.
func isVoucher(owner string) bool {
	_, who, _ := strings.Cut(owner, "/")
	return strings.HasPrefix(owner, "est:") && strings.HasPrefix(who, "voucher:")
}

// label is what people call a kind of certificate.
func label(kind string) string {
	switch kind {
	case CredentialMIC:
		return "MIC"
	case CredentialLSC:
		return "LSC"
	default:
		return "certificate"
	}
}

// short cuts a name that a peer has written, and takes from it what a terminal would not show as it is.
func short(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, name)
}
