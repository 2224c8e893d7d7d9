package cli

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

// raItem is a request of an EST client in JSON.
type raItem struct {
	ID        string      `json:"id"`
	Label     string      `json:"label"`
	Client    string      `json:"client"`
	Owner     string      `json:"owner"`
	Subject   string      `json:"subject"`
	Names     []string    `json:"names"`
	Usages    []string    `json:"usages"`
	Other     []string    `json:"other_extensions"`
	Key       string      `json:"key"`
	Authority string      `json:"authority"`
	State     string      `json:"state"`
	Created   string      `json:"created"`
	Age       int64       `json:"age_seconds"`
	CARequest string      `json:"ca_request,omitempty"`
	Vouched   string      `json:"vouched_by,omitempty"`
	Decision  *raDecision `json:"decision"`
	Code      string      `json:"code,omitempty"`
	Detail    string      `json:"detail,omitempty"`
	Remedy    string      `json:"remedy,omitempty"`
	Serial    string      `json:"serial,omitempty"`
	NotAfter  *string     `json:"not_after"`
	Result    string      `json:"result,omitempty"` // of approve and deny
}

type raDecision struct {
	Approved bool   `json:"approved"`
	By       string `json:"by"`
	At       string `json:"at"`
	Note     string `json:"note,omitempty"`
}

func newRAItem(r *enroll.Enrolment, now time.Time) raItem {
	asked := askedFor(r.Extensions)
	i := raItem{
		ID: r.ID, Label: r.Label, Client: client(r), Owner: r.Owner, Subject: chain.NameText(r.Subject), Names: asked.names, Usages: asked.usages, Other: asked.other,
		Key: keyWord(r.PublicKey), Authority: r.Authority, State: string(r.State), Created: utc(r.Created), Age: int64(now.Sub(r.Created).Seconds()),
		CARequest: r.Progress.RequestID, Vouched: r.Vouch, Serial: r.Serial, NotAfter: optionalTime(r.NotAfter),
	}
	if d := r.Decision; d != nil {
		i.Decision = &raDecision{Approved: d.Approved, By: d.By, At: utc(d.At), Note: d.Note}
	}
	if f := r.Failure; f != nil && r.State != enroll.Issued && r.State != enroll.Confirmed {
		i.Code, i.Detail, i.Remedy = f.Code, f.Detail, f.Remedy
	}
	return i
}

// client is who asked, out of the row's owner: a user name, or the name in a certificate without the mark of its CA.
func client(r *enroll.Enrolment) string {
	name := strings.TrimPrefix(r.Owner, "est:"+r.Label+"/")
	if rest, ok := strings.CutPrefix(name, "cert:"); ok {
		if _, after, ok := strings.Cut(rest, "/"); ok {
			return after
		}
	}
	return strings.TrimPrefix(name, "voucher:")
}

// asked is what a request wants to have in the certificate beside subject and key.
type asked struct {
	names, usages, other []string // never nil
}

// The extensions that people read by other words than their number.
var (
	oidSubjectAlt  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidBasic       = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidSubjectKey  = asn1.ObjectIdentifier{2, 5, 29, 14}
)

func askedFor(extensions []pkix.Extension) asked {
	a := asked{names: []string{}, usages: []string{}, other: []string{}}
	names, err := ra.NamesOf(extensions)
	if err != nil {
		names = []string{"unreadable: " + err.Error()}
	}
	a.names = append(a.names, names...)
	for _, x := range extensions {
		switch {
		case x.Id.Equal(oidSubjectAlt):
		case x.Id.Equal(oidKeyUsage):
			a.usages = append(a.usages, keyUsages(x.Value)...)
		case x.Id.Equal(oidExtKeyUsage):
			a.usages = append(a.usages, extKeyUsages(x.Value)...)
		case x.Id.Equal(oidBasic):
			if word := basicConstraints(x.Value); word != "" {
				a.other = append(a.other, word)
			}
		case x.Id.Equal(oidSubjectKey):
			a.other = append(a.other, "subject key identifier")
		default:
			a.other = append(a.other, x.Id.String())
		}
	}
	return a
}

// keyUsages reads the value of the extension keyUsage (RFC 5280 section 4.2.1.3).
func keyUsages(value []byte) []string {
	var bits asn1.BitString
	if rest, err := asn1.Unmarshal(value, &bits); err != nil || len(rest) > 0 {
		return []string{"unreadable key usage"}
	}
	var u x509.KeyUsage
	for i := range 9 {
		u |= x509.KeyUsage(bits.At(i)) << i
	}
	return chain.KeyUsageNames(u)
}

// extKeyUsages reads the value of the extension extKeyUsage (RFC 5280 section 4.2.1.12).
func extKeyUsages(value []byte) []string {
	var oids []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(value, &oids); err != nil || len(rest) > 0 {
		return []string{"unreadable extended key usage"}
	}
	words := make([]string, 0, len(oids))
	for _, oid := range oids {
		words = append(words, usageWord(oid))
	}
	return words
}

// usageWord names an extended key usage; one that nobody has a word for is its number.
func usageWord(oid asn1.ObjectIdentifier) string {
	for u := x509.ExtKeyUsageAny; u <= x509.ExtKeyUsageMicrosoftKernelCodeSigning; u++ {
		if u.OID().EqualASN1OID(oid) {
			return u.String()
		}
	}
	return oid.String()
}

// basicConstraints reads the value of the extension basicConstraints (RFC 5280 section 4.2.1.9); empty when it says nothing remarkable.
func basicConstraints(value []byte) string {
	var v struct {
		CA      bool `asn1:"optional"`
		PathLen int  `asn1:"optional,default:-1"`
	}
	rest, err := asn1.Unmarshal(value, &v)
	switch {
	case err != nil || len(rest) > 0:
		return "unreadable basic constraints"
	case v.CA:
		return "BE A CA"
	default:
		return ""
	}
}

// pendingAt says where a request is decided that the CA keeps.
func pendingAt(r *enroll.Enrolment) string {
	number := or(visible(r.Progress.RequestID), "its number")
	if r.Authority != "adcs" {
		return fmt.Sprintf("have it decided at the authority %s, request %s", r.Authority, number)
	}
	return fmt.Sprintf("the CA's manager decides it there: Certification Authority console, Pending Requests, request %s, Issue or Deny (certutil -resubmit %s)", number, number)
}

// remark is the last column of the list: what stands in the way, or what became of it.
func remark(r *enroll.Enrolment) string {
	var words []string
	d := r.Decision
	switch {
	case d != nil && d.Approved:
		words = append(words, "approved by "+d.By)
	case d != nil:
		words = append(words, "denied by "+d.By)
	}
	if d != nil && d.Note != "" {
		words[0] += ": " + d.Note
	}
	switch {
	case r.State == enroll.Held:
		words = append(words, "waits for callsign ra request approve")
	case r.State == enroll.Pending:
		words = append(words, "waits for the CA's manager")
	case r.State == enroll.Issued, r.State == enroll.Confirmed:
		words = append(words, "serial "+r.Serial)
	case r.State == enroll.Stale && r.Failure != nil && r.Failure.Code == enroll.CodeRequestDenied:
		words = append(words, "denied at first")
	case r.Failure != nil && !r.Rejected():
		words = append(words, fmt.Sprintf("%s (%s)", r.Failure.Detail, r.Failure.Code))
	}
	return or(strings.Join(words, "; "), "-")
}

// some is a list in a cell; the whole of a long one is in the JSON and at approve.
func some(list []string, most int) string {
	if len(list) <= most {
		return or(strings.Join(list, ", "), "-")
	}
	return strings.Join(slices.Clone(list[:most]), ", ") + fmt.Sprintf(", and %d more", len(list)-most)
}
