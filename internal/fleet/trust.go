package fleet

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callsign/chain"
	"callsign/internal/enroll"
)

// Trust is what the certificates are judged by with which phones authenticate (spec: CAPF section 6.3, "CAPF-trust").
// The issuers of LSCs that phones hold, Store.Issuers, count besides. The zero value adds nothing to them: then no MIC
// is accepted, and no LSC of an authority that has issued none here.
type Trust struct {
	// LSC are issuers of LSCs: the present one and former ones, the CAPF certificates of call managers. Each ends a path,
	// whether it is self-signed or not.
	LSC []*x509.Certificate
	// MIC are manufacturing CAs and their roots. A certificate below one of them is a MIC, and may be signed with SHA-1.
	MIC []*x509.Certificate
	// Distrusted are the SHA-256 hashes of certificates that count no more, whoever names them: issuers, or single
	// certificates of phones.
	Distrusted [][sha256.Size]byte
}

// minPhoneRSABits is the least length of RSA keys in the certificates of phones and their issuers: phones have had keys
// of 1024 bits for a long time, and MICs cannot be replaced.
const minPhoneRSABits = 1024

// trustAge is how long the issuers on record are taken as read. What this process puts on record counts at once.
const trustAge = 3 * time.Second

// judges are the verifiers of a time, and the issuers of LSCs that are known by then.
type judges struct {
	mic, lsc *chain.Verifier
	// all trusts what is distrusted as well: it finds out that distrust is the only fault.
	all        *chain.Verifier
	distrusted map[[sha256.Size]byte]bool
	ids        []string                     // of the issuers on record that have phones, in order
	issuers    map[string]*x509.Certificate // by Issuer.ID: on record, whether they have phones or not
}

// trustCache keeps judges until the issuers on record have changed.
type trustCache struct {
	mu     sync.Mutex
	judges *judges
	read   time.Time // by the machine's clock, whatever the service's is
	stale  bool
}

// judges returns the verifiers that hold now.
func (s *Service) judges(ctx context.Context) (*judges, error) {
	c := &s.trust
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.judges != nil && !c.stale && time.Since(c.read) < trustAge {
		return c.judges, nil
	}
	issuers, err := s.Store.Issuers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the issuers of LSCs: %w", err)
	}
	if c.judges == nil || !c.judges.upToDate(issuers) {
		c.judges = s.newJudges(issuers)
	}
	c.read, c.stale = time.Now(), false
	return c.judges, nil
}

// upToDate reports whether the issuers are those by which j was made.
func (j *judges) upToDate(issuers []Issuer) bool {
	var ids []string
	for _, i := range issuers {
		if j.issuers[i.ID] == nil {
			return false
		}
		if i.Phones > 0 {
			ids = append(ids, i.ID)
		}
	}
	return slices.Equal(ids, j.ids)
}

func (s *Service) newJudges(issuers []Issuer) *judges {
	j := &judges{distrusted: map[[sha256.Size]byte]bool{}, issuers: map[string]*x509.Certificate{}}
	for _, sum := range s.Trust.Distrusted {
		j.distrusted[sum] = true
	}
	mic, lsc, all := chain.NewStore().Named("capf.mic_files"), chain.NewStore().Named("capf.trust_files"), chain.NewStore()
	add := func(store *chain.Store, x *x509.Certificate, isMIC bool) {
		a := chain.Anchor{Certificate: chain.Of(x), MIC: isMIC, Partial: true, MinRSABits: minPhoneRSABits}
		all.Add(a)
		if !j.distrusted[sha256.Sum256(x.Raw)] {
			store.Add(a)
		}
	}
	known := slices.Concat(s.Trust.LSC, s.Trust.MIC)
	ofLSCs := slices.Clone(s.Trust.LSC)
	for _, i := range issuers {
		x, err := x509.ParseCertificate(i.DER)
		if err != nil { // it has been parsed before it was put on record
			continue
		}
		j.issuers[i.ID], known = x, append(known, x)
		if i.Phones > 0 {
			j.ids = append(j.ids, i.ID)
			ofLSCs = append(ofLSCs, x)
		}
	}
	j.distrustBelow(known)
	for _, x := range ofLSCs {
		add(lsc, x, false)
	}
	for _, x := range s.Trust.MIC {
		add(mic, x, true)
	}
	j.mic = &chain.Verifier{Anchors: mic, Usage: chain.MIC, MinRSABits: minPhoneRSABits, Now: s.now}
	j.lsc = &chain.Verifier{Anchors: lsc, Usage: chain.Client, MinRSABits: minPhoneRSABits, Now: s.now}
	j.all = &chain.Verifier{Anchors: all, Usage: chain.MIC, MinRSABits: minPhoneRSABits, Now: s.now}
	return j
}

// distrustBelow takes out the CAs among known that a distrusted one has certified: each of them ends a path by itself, and
// whoever distrusts a root means what is below it. A CA that has certified itself stands for itself, also when it was made
// anew with the key of a distrusted one.
func (j *judges) distrustBelow(known []*x509.Certificate) {
	for more := true; more; {
		more = false
		for _, x := range known {
			sum := sha256.Sum256(x.Raw)
			if j.distrusted[sum] || bytes.Equal(x.RawSubject, x.RawIssuer) {
				continue
			}
			for _, above := range known {
				if j.distrusted[sha256.Sum256(above.Raw)] && bytes.Equal(above.RawSubject, x.RawIssuer) && mayHaveSigned(above, x) {
					j.distrusted[sum], more = true, true
				}
			}
		}
	}
}

// mayHaveSigned reports whether the signature of x fits the key of above, or cannot be checked because of its algorithm.
func mayHaveSigned(above, x *x509.Certificate) bool {
	err := above.CheckSignature(x.SignatureAlgorithm, x.RawTBSCertificate, x.Signature)
	_, insecure := errors.AsType[x509.InsecureAlgorithmError](err)
	return err == nil || insecure
}

// verdict is what is known of a certificate that a phone shows.
type verdict struct {
	kind       string             // CredentialLSC or CredentialMIC; CredentialNone when it comes from neither
	distrusted *chain.Certificate // why it counts no more: itself or its issuer; nil: it does
	faults     []chain.Fault      // empty: accepted
	result     *chain.Result
}

// judge says whose certificate it is and what is wrong with it. A certificate below a manufacturing CA is a MIC, below
// an issuer of LSCs an LSC, whatever type the phone gives it.
func (j *judges) judge(x *x509.Certificate, allowShortKey bool) verdict {
	presented := []*chain.Certificate{chain.Of(x)}
	v := verdict{kind: CredentialNone}
	if j.distrusted[sha256.Sum256(x.Raw)] {
		v.distrusted = presented[0]
	}
	if j.mic.Anchors.Len() > 0 {
		v.result = j.mic.Verify(presented, "")
		v.claim(CredentialMIC)
	}
	if !v.belongs() {
		mic := v.result
		v.result = j.lsc.Verify(presented, "")
		if v.claim(CredentialLSC); !v.belongs() && v.kind == CredentialMIC {
			v.result = mic
		}
	}
	if !v.belongs() && len(j.distrusted) > 0 {
		r := j.all.Verify(presented, "")
		if r.Anchor != nil && !r.Has(chain.BadSignature) && j.distrusted[sha256.Sum256(r.Anchor.Certificate.Raw())] {
			v.distrusted, v.kind = r.Anchor.Certificate, CredentialLSC
			if r.Anchor.MIC {
				v.kind = CredentialMIC
			}
		}
	}
	for _, f := range v.result.Faults {
		if !allowShortKey || !shortKey(x, &f) {
			v.faults = append(v.faults, f)
		}
	}
	return v
}

// claim takes the kind of the store in which the path ends. Where the certificate only has its issuer's name, and another
// key has signed it, the first claim holds.
func (v *verdict) claim(kind string) {
	if v.result.Anchor != nil && (v.kind == CredentialNone || !v.result.Has(chain.BadSignature)) {
		v.kind = kind
	}
}

// belongs reports whether the certificate comes from an issuer of the store by which it was judged.
func (v *verdict) belongs() bool {
	return v.result != nil && v.result.Anchor != nil && !v.result.Has(chain.BadSignature)
}

// shortKey reports whether the fault is that the phone's own RSA key has less than 1024 bits. Phones can be asked for
// 512 bits; such a key is known to whoever takes some hours to find it out.
func shortKey(x *x509.Certificate, f *chain.Fault) bool {
	_, isRSA := x.PublicKey.(*rsa.PublicKey)
	return isRSA && f.Depth == 0 && f.Code == chain.WeakKey
}

// kindOf tells an LSC from a MIC among certificates that a phone shows for a Troubleshoot operation. type tells what the
// phone calls it, which counts only when nothing else is known.
func (j *judges) kindOf(x *x509.Certificate, onRecord *Certificate, given string) string {
	if onRecord != nil && bytes.Equal(onRecord.DER, x.Raw) {
		return CredentialLSC
	}
	if v := j.judge(x, true); v.kind != CredentialNone {
		return v.kind
	}
	return given
}

// namesDevice reports whether a certificate is that of a device (spec: CAPF sections 6.3 and 8): for an LSC the common
// name is the device name or ends in it after a hyphen, or a subjectAltName URI is the device name; for a MIC the common
// name is SEP and the MAC address, or ends in it after a hyphen. Case does not matter. A certificate that is plainly
// another device's, by a URI or by the whole of its common name, is not this one's by a hyphen: the device names CSFA-CSFB
// and CSFB are two.
func namesDevice(kind string, x *x509.Certificate, device string) bool {
	device = strings.ToUpper(device)
	if kind == CredentialMIC && !strings.HasPrefix(device, "SEP") {
		return false
	}
	if kind == CredentialLSC {
		other := false
		for _, u := range x.URIs {
			name := strings.ToUpper(u.String())
			if name == device {
				return true
			}
			other = other || deviceName.MatchString(name)
		}
		if other {
			return false
		}
	}
	cn, one := commonName(x)
	// Device names are ASCII. Some letters beyond it become ASCII in upper case ("ſ" does), and whoever gave this name need
	// not have seen a device name in it.
	if !one || device == "" || strings.ContainsFunc(cn, func(r rune) bool { return r < ' ' || r > '~' }) {
		return false
	}
	cn = strings.ToUpper(cn)
	return cn == device || strings.HasSuffix(cn, "-"+device) && !deviceName.MatchString(cn)
}

// commonName returns the common name of the subject, and whether there is exactly one.
func commonName(x *x509.Certificate) (cn string, one bool) {
	n := 0
	for _, a := range x.Subject.Names {
		if a.Type.Equal(oidCommonName) {
			n++
			cn, _ = a.Value.(string)
		}
	}
	return cn, n == 1
}

// newCertificate makes the record of an LSC from the journal's row, and returns the certificate that issued it; nil when
// the authority gave none, or one that it is not.
func (s *Service) newCertificate(ctx context.Context, row *enroll.Enrolment) (*Certificate, []byte, error) {
	leaf, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("parse the issued certificate: %w", err)
	}
	c := &Certificate{DER: row.Certificate, Serial: row.Serial, Issuer: row.Issuer, NotBefore: leaf.NotBefore, NotAfter: row.NotAfter}
	if len(row.Chain) == 0 {
		return c, nil, nil
	}
	id := IssuerID(row.Chain[0])
	known, err := s.issuer(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if known == nil {
		// From now on the LSCs that it signs are accepted, so it has to be what it is said to be.
		known, err = x509.ParseCertificate(row.Chain[0])
		if err != nil || known.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil {
			return c, nil, nil //nolint:nilerr // an LSC without a known issuer is one all the same
		}
	}
	if !bytes.Equal(known.RawSubject, leaf.RawIssuer) {
		return c, nil, nil
	}
	c.IssuerID = id
	return c, row.Chain[0], nil
}

// shownSerial is the serial number of a certificate that a peer shows, cut: it may have made one of many thousand digits,
// and RFC 5280 (4.1.2.2) has no more than 40.
func shownSerial(x *x509.Certificate) string {
	const most = 64
	s := chain.SerialText(x.SerialNumber)
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// issuer returns an issuer on record; nil when there is none with this ID.
func (s *Service) issuer(ctx context.Context, id string) (*x509.Certificate, error) {
	j, err := s.judges(ctx)
	if err != nil {
		return nil, err
	}
	return j.issuers[id], nil
}

// issued makes the next call look at the issuers on record when the one of this LSC is not among those that count.
func (s *Service) issued(id string) {
	if id == "" {
		return
	}
	c := &s.trust
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.judges != nil && !slices.Contains(c.judges.ids, id) {
		c.stale = true
	}
}
