package explain

import (
	"slices"
	"strings"
)

// Lang is a language of the catalogue.
type Lang string

// The languages of the catalogue.
const (
	English Lang = "en"
	Korean  Lang = "ko"
	French  Lang = "fr"
)

// Langs returns the languages of the catalogue, English first.
func Langs() []Lang { return []Lang{English, Korean, French} }

// ParseLang returns the language with this name: "en", "ko" or "fr". It reports false for every other name.
func ParseLang(name string) (Lang, bool) {
	l := Lang(name)
	return l, slices.Contains(Langs(), l)
}

// LocaleLang returns the language of a POSIX locale such as "ko_KR.UTF-8", English when the catalogue does not have it
// or the locale is empty.
func LocaleLang(locale string) Lang {
	name, _, _ := strings.Cut(locale, ".")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, "_")
	if l, ok := ParseLang(strings.ToLower(name)); ok {
		return l
	}
	return English
}

// Family says whose codes an entry's code belongs to. It is never translated.
type Family string

// The families of the catalogue.
const (
	FamilyProblem Family = "problem"     // of our operations, "room.kebab-case"
	FamilyChain   Family = "chain fault" // of a certificate chain, "snake_case"
	FamilyOpenSSL Family = "openssl"     // X.509 verification errors that are no chain fault of ours, "openssl:27"
	FamilyWindows Family = "windows"     // status codes of Windows and AD CS, "0x80094800"; Win32 errors have the alias "win32:5"
	FamilyIIS     Family = "iis"         // status and substatus of the web server IIS, "iis:401.2"
	FamilyUpload  Family = "upload"      // of the checks of certificates for a cluster, "CSR_SAN_MISMATCH"
	FamilyCurl    Family = "curl"        // exit codes of curl that logs of registration authorities quote, "curl:60"
)

// Entry is what the catalogue knows of one code.
type Entry struct {
	Code    string   // stable, never translated: "est.csr-key-too-short", "unknown_issuer", "curl:60"
	Family  Family   // whose code it is
	Aliases []string // other names that lead here, e.g. "CAPF_OP_FAIL"; without the OpenSSL ones
	OpenSSL []VerifyError
	Curl    []int     // exit codes of curl; empty when curl does not report it
	Wording []Wording // how logs say it
	Depths  []Depth   // what the depth of the certificate means, for faults that have one
	Also    []string  // codes of related entries
	Texts   map[Lang]Text
}

// Text is an entry in one language. All fields are set.
type Text struct {
	Title    string
	Meaning  string
	Causes   []string // most likely first
	Evidence []string // what to collect
	Remedy   []string // steps, or ways to choose from, best first
}

// VerifyError is a verification error of OpenSSL 3.0 (X509_V_ERR_...).
type VerifyError struct {
	Number int
	Name   string // "X509_V_ERR_CERT_HAS_EXPIRED"
	Text   string // as OpenSSL 3 prints it
	Old    string // as OpenSSL 1.1.1 prints it, where that differs; empty otherwise
}

// Wording is how a program says it in a log or on a screen. A * in Text stands for anything within a line.
type Wording struct {
	In   string `json:"in"` // the program: "curl", "nginx", "Go"
	Text string `json:"text"`
}

// Depth tells what it means that a fault is at some depth. The leaf has depth 0, its issuer 1, and so on.
type Depth struct {
	From, To int // inclusive; To is negative when there is no end
	Texts    map[Lang]string
}

// covers reports whether d speaks of a certificate at this depth.
func (d *Depth) covers(depth int) bool { return depth >= d.From && (d.To < 0 || depth <= d.To) }

// DepthText returns what it means that the fault is at this depth; empty when there is nothing to say, or depth is
// negative.
func (e *Entry) DepthText(depth int, l Lang) string {
	for i := range e.Depths {
		if depth >= 0 && e.Depths[i].covers(depth) {
			return e.Depths[i].Texts[l]
		}
	}
	return ""
}
